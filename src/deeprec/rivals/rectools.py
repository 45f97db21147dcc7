"""RecTools' SASRec and BERT4Rec, run by an interpreter of their own.

RecTools wants numpy < 2, so `make peers` installs it apart, and `rectools_worker.py` runs there. The fit
sees each user's items before validation; validation targets only tell it when to stop. Histories of
validation and test are ranked once, at the end of the fit; any other one is ranked when it is asked for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec import methods
from deeprec.data.dataset import Dataset
from deeprec.disk import read_json
from deeprec.errors import EvaluationError, RunError
from deeprec.inputs import constants_of
from deeprec.progress import Bar, progress_bar
from deeprec.recommender import Recommendation, Recommender
from deeprec.rivals.registry import Rival
from deeprec.run import Run
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.baselines import item_counts
from deeprec.trm.left import check_size
from deeprec.trm.ranking import check_histories
from deeprec.types import Example

_WORKER = Path(__file__).with_name("rectools_worker.py")
_LISTS = 100  # items of a stored list: ten times what tables show, and a MB for a thousand users
SIZES = {
    "width": 256, "blocks": 2, "heads": 4, "dropout": 0.2, "learning_rate": 0.001, "epochs": 100, "patience": 10,
}  # RecTools' own defaults, and when its training ends  # fmt: skip


class RecToolsRecommender:
    """Stored lists by history; the worker ranks for a history that was not stored.

    Items that RecTools never met are ranked last, by index.
    """

    def __init__(self, name: str, folder: Path, python: Path, dataset: Dataset) -> None:
        """Raises RunError for a folder that holds no whole fit."""
        self._name = name
        self._folder = folder
        self._python = python
        self._dataset = dataset
        try:
            with np.load(folder / "lists.npz", allow_pickle=False) as stored:
                self._lists = dict(zip(stored["keys"].tolist(), stored["lists"], strict=True))
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                f"{folder / 'lists.npz'}: not readable ({error}); run `deeprec rival fit {name}`"
            ) from None
        counts = item_counts(dataset)[1:]
        self._by_popularity = (1 + np.lexsort((np.arange(len(counts)), -counts))).tolist()

    @property
    def name(self) -> str:
        """Short name used in tables."""
        return self._name

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        """The top k of each example, in order; all that are left where those are fewer.

        Raises RetrievalError for k beyond the catalogue.
        """
        n_items = self._dataset.catalog.n_items
        check_size(k, n_items)
        check_histories([example.history for example in examples], n_items)
        unknown = [e for e in examples if k > _LISTS or history_key(e.history) not in self._lists]
        self._ask(unknown, k)
        return [Recommendation(self._ranking(example, k), self._name) for example in examples]

    def _ask(self, examples: Sequence[Example], k: int) -> None:
        """Have the worker rank for these histories, and keep what it says."""
        histories = {history_key(e.history): e.history for e in examples}
        if histories:
            lists = rank(self._python, self._folder, list(histories.values()))
            self._lists.update(zip(histories, lists, strict=True))

    def _ranking(self, example: Example, k: int) -> tuple[int, ...]:
        closed = set(self._dataset.exclusions(example))
        own = [item for item in self._lists[history_key(example.history)].tolist() if item]
        if len(own) < k:
            # RecTools knows no more items; the rest follows by popularity in the fit part.
            closed.update(own)
            own += [item for item in self._by_popularity if item not in closed]
        return tuple(own[:k])


def users_per_step(users: int) -> int:
    """RecTools' 128, or 16 where that makes too few steps an epoch: the fit would end at popularity's level.

    >>> users_per_step(6040), users_per_step(940)
    (128, 16)
    """
    return 128 if users >= 32 * 128 else 16


def history_key(history: Sequence[int]) -> str:
    """What a history's list is stored under."""
    return sha256(np.asarray(history, np.int64).tobytes()).hexdigest()[:32]


def rank(python: Path, folder: Path, histories: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Lists (U, N) of the fitted model in `folder`; 0 where it knows no more items."""
    with tempfile.TemporaryDirectory() as place:
        asked, out = Path(place) / "asked.npz", Path(place) / "lists.npz"
        _write_histories(asked, histories)
        _run(python, "rank", folder.absolute(), asked, out)
        with np.load(out, allow_pickle=False) as stored:
            lists: NDArray[np.int64] = stored["lists"]
            return lists


def _write_histories(file: Path, histories: Sequence[Sequence[int]]) -> None:
    ends = np.cumsum([len(history) for history in histories])
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    np.savez(file, items=items, ends=ends)


def _check_interpreter(python: Path) -> None:
    if not python.is_file():
        raise EvaluationError(
            f"{python}: no interpreter with RecTools there (rivals.plain.peers_python); make it with `make peers`, "
            "or name another with --set rivals.plain.peers_python=PATH"
        )


def _run(python: Path, *words: object, bar: Bar | None = None) -> None:
    """Run the worker; raises EvaluationError where its interpreter is missing, or with its last words.

    `bar` moves on with each epoch.
    """
    _check_interpreter(python)
    # Absolute, but not resolved: the link is what tells Python of its environment. -P: this folder is not searched
    # for modules, where `rectools` would be this one.
    command = [str(python.absolute()), "-P", str(_WORKER), *(str(word) for word in words)]
    last = "it said nothing"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as worker:
        for line in worker.stderr or ():
            last = line.strip() or last
            if line.startswith("epoch ") and bar is not None:
                bar.advance(1, line.partition(": ")[2].strip())
    if worker.returncode:
        hint = "; `make peers` installs what is missing" if "ModuleNotFoundError" in last else ""
        raise EvaluationError(f"{_WORKER.name}, run by {python}: failed: {last}{hint}")


def _rival(name: str, summary: str) -> Rival:
    def others(run: Run) -> dict[str, Any]:
        return {"constants": constants_of(sys.modules[__name__])}

    def fit(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> dict[str, Any]:
        python = Path(run.config.rivals.plain.peers_python)
        plain = run.config.rivals.plain
        known = dataset.fit_histories()
        settings = {
            **SIZES,
            "users_per_step": users_per_step(len(known)),
            "history": plain.rectools_history,
            "minutes": plain.rectools_minutes,
        }
        job = {
            "model": name.removeprefix("rectools-"),
            "seed": run.config.seed,
            "lists": _LISTS,
            "allow_repeats": dataset.allow_repeats,
        }
        (folder / "job.json").write_text(json.dumps({**job, **settings}), encoding="utf-8")
        _write_histories(folder / "fit.npz", [example.history for example in known])
        targets = {example.user_id: example.target for example in dataset.examples("validation")}
        held_out = np.array([targets.get(example.user_id, 0) for example in known], dtype=np.int64)
        np.savez(folder / "validation.npz", items=held_out)
        with progress_bar(f"Fitting {name}", SIZES["epochs"]) as bar:
            _run(python, "fit", folder.absolute(), bar=bar)
        asked = [example.history for part in ("validation", "test") for example in dataset.examples(part)]
        keys = np.array([history_key(history) for history in asked])
        np.savez(folder / "lists.npz", keys=keys, lists=rank(python, folder, asked))
        facts: dict[str, Any] = read_json(folder / "fit.json")
        return facts

    def load(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> Recommender:
        return RecToolsRecommender(name, folder, Path(run.config.rivals.plain.peers_python), dataset)

    def check(run: Run, dataset: Dataset, trm: ExplorableRetriever) -> None:
        _check_interpreter(Path(run.config.rivals.plain.peers_python))

    return Rival(summary, others, fit, load, check=check)


SASREC = _rival(methods.RECTOOLS_SASREC, "SASRec of RecTools, in an environment of its own (make peers)")
BERT4REC = _rival(
    methods.RECTOOLS_BERT4REC, "BERT4Rec of RecTools, in an environment of its own (make peers)"
)
