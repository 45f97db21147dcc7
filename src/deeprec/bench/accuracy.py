"""The accuracy of a run's TRM beside peers that ranked the same targets: rows of results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec import metrics, stages
from deeprec.data.dataset import Dataset
from deeprec.errors import EvaluationError
from deeprec.evaluation.bootstrap import Interval, mean_intervals, paired_differences
from deeprec.evaluation.results import ResultRow, fit_commands
from deeprec.methods import ITEM_KNN, POPULARITY, TRM
from deeprec.provenance import environment
from deeprec.run import Run
from deeprec.trm.base import Retriever
from deeprec.trm.baselines import ItemKNN, Popularity
from deeprec.trm.ranking import catalogue_ranks

_PEER_PACKAGES = ("rectools", "torch")


@dataclass(frozen=True)
class Contestant:
    """A method and the rank (U,) that it gave each test target, in the order of the data set."""

    name: str
    ranks: NDArray[np.int64]
    minutes: float
    history: int | None = None
    seed: int | None = None  # None: that of the run
    note: str | None = None
    machine: str | None = None
    versions: dict[str, str] = field(default_factory=dict)


def own_contestants(run: Run, dataset: Dataset, trm: Retriever) -> list[Contestant]:
    """Popularity, item-kNN and the run's TRM, without preferences."""
    examples = dataset.examples("test")
    fits: list[tuple[str, Callable[[], Retriever]]] = [
        (POPULARITY, lambda: Popularity.fit(dataset)),
        (ITEM_KNN, lambda: ItemKNN.fit(dataset)),
        (TRM, lambda: trm),
    ]
    found = []
    for name, make in fits:
        started = time.monotonic()
        ranks = catalogue_ranks(make(), examples, dataset=dataset)
        minutes = (time.monotonic() - started) / 60
        if name == TRM:
            minutes += float(run.finished()[stages.TRM]["minutes"])
        history = run.config.trm.history if name == TRM else None
        found.append(Contestant(name, ranks, minutes, history))
    return found


def read_peer(file: Path, dataset: Dataset) -> Contestant:
    """What a peer's script wrote; raises EvaluationError unless it ranked exactly these targets."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        test, settings = found["test"], found["settings"]
        ranks = np.asarray(test["ranks"], dtype=np.int64)
        asked = list(zip(test["user_ids"], test["targets"], strict=True))
    except OSError as error:
        raise EvaluationError(f"{file}: can't be read ({error.strerror}); check the path") from None
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{file}: no ranks of a peer ({error}); run the peer's script again") from None
    wanted = [(example.user_id, example.target) for example in dataset.examples("test")]
    if found["fingerprint"] != dataset.fingerprint or asked != wanted or len(ranks) != len(wanted):
        raise EvaluationError(
            f"{file}: ranked other targets, or was trained on other data, than this run "
            f"({found['fingerprint']}, here {dataset.fingerprint}); run the peer's script on this run"
        )
    return Contestant(
        name=found["method"],
        ranks=ranks,
        minutes=found["seconds"] / 60,
        history=settings["history"],
        seed=settings["seed"],
        note=_note(found),
        machine=found["machine"],
        versions={name: found["versions"][name] for name in _PEER_PACKAGES if name in found["versions"]},
    )


def _note(found: dict[str, Any]) -> str:
    """What a reader must know of a peer's row."""
    settings = found["settings"]
    sizes = ", ".join(
        f"{name} {settings[name]}" for name in ("width", "blocks", "heads", "dropout", "batch_size", "lr")
    )
    ending = "stopped by validation NDCG@10"
    if not found["converged"]:
        limit = f"{settings['max_minutes']:g} minutes" if found["stopped"] == "time" else "epochs"
        ending = f"stopped by its limit of {limit}: more epochs might have helped"
    return f"{sizes}; {found['epochs']} epochs, the best is {found['best_epoch']}; {ending}"


def result_rows(
    run: Run, dataset: Dataset, contestants: Sequence[Contestant], command: str | None = None
) -> list[ResultRow]:
    """One row a method, with intervals and the paired difference to the TRM.

    Raises EvaluationError for two methods of one name, or when the TRM is not among them.
    """
    names = [contestant.name for contestant in contestants]
    if len(set(names)) < len(names) or TRM not in names:
        raise EvaluationError(
            f"methods {', '.join(names)}: each name once, '{TRM}' among them; give one file a peer"
        )
    # By user id, as every evaluation: the same seed then draws the same users.
    users = [example.user_id for example in dataset.examples("test")]
    order = np.array(sorted(range(len(users)), key=users.__getitem__))
    columns = {contestant.name: _columns(contestant.ranks[order]) for contestant in contestants}
    return [_row(run, dataset, contestant, columns, command) for contestant in contestants]


def _row(
    run: Run,
    dataset: Dataset,
    contestant: Contestant,
    columns: dict[str, NDArray[np.float64]],
    command: str | None,
) -> ResultRow:
    resamples, here = run.config.evaluation.bootstrap, environment()
    # A peer keeps its seed: held against the TRM of several seeds, it is still one training.
    seed = run.config.seed if contestant.seed is None else contestant.seed
    made = run.config.model_copy(update={"seed": seed})
    own, ours = columns[contestant.name], columns[TRM]
    intervals = _named(mean_intervals(own, resamples, seed=0))
    differences = {}
    if contestant.name != TRM:
        found = _named(paired_differences(own, ours, resamples, seed=0))
        differences[TRM] = {name: _triple(value) for name, value in found.items()}
    return ResultRow(
        dataset=dataset.name,
        protocol=str(dataset.protocol),
        history=contestant.history,
        method=contestant.name,
        seed=seed,
        targets=dataset.targets_hash("test"),
        users=len(own),
        metrics={name: round(value.mean, 6) for name, value in intervals.items()},
        interval={name: _triple(value)[1:] for name, value in intervals.items()},
        differences=differences,
        command=command or f"{fit_commands(made)}\npython benchmarks/trm_accuracy.py --peer PEER.json",
        minutes=round(contestant.minutes, 2),
        machine=contestant.machine or here["machine"],
        commit=here["commit"],
        versions=contestant.versions or here["versions"],
        note=contestant.note,
    )


def _columns(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Every ranking metric of every user, (U, M), in the order of RANKING_METRICS."""
    within = np.where(ranks <= metrics.CUT, ranks, 0)
    found = [metrics.recall(within, k) for k in metrics.RECALL_KS]
    found += [metrics.ndcg(within, k) for k in metrics.NDCG_KS]
    return np.stack([*found, metrics.reciprocal_rank(within)], axis=1)


def _named(values: Sequence[Interval]) -> dict[str, Interval]:
    return dict(zip(metrics.RANKING_METRICS, values, strict=True))


def _triple(value: Interval) -> tuple[float, float, float]:
    return round(value.mean, 6), round(value.low, 6), round(value.high, 6)
