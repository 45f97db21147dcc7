"""RecTools' transformers in their own interpreter; the real fit runs where `make peers` has been run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_world import build_dataset

from deeprec.config import DataConfig, RunConfig, SyntheticConfig, override_config
from deeprec.data.prepare import prepare
from deeprec.data.split import refit_data
from deeprec.errors import EvaluationError, RetrievalError, RunError
from deeprec.rivals import rectools
from deeprec.rivals.rectools import RecToolsRecommender, history_key
from deeprec.rivals.registry import find_rival
from deeprec.run import Run

DATASET = refit_data(build_dataset())
PEERS = Path(__file__).resolve().parents[3] / ".venv-peers" / "bin" / "python"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit of seconds."""
    for name, value in {"width": 8, "heads": 1, "blocks": 1, "epochs": 2}.items():
        monkeypatch.setitem(rectools.SIZES, name, value)


def make_run(folder: Path, python: Path) -> Run:
    return Run(
        folder,
        override_config(
            RunConfig(), ["rivals.plain.rectools_history=6", f"rivals.plain.peers_python={python}"]
        ),
    )


def store(folder: Path, *lists: list[int]) -> RecToolsRecommender:
    """A recommender with lists for the first test histories."""
    keys = [history_key(example.history) for example in DATASET.examples("test")[: len(lists)]]
    np.savez(folder / "lists.npz", keys=np.array(keys), lists=np.array(lists, np.int64))
    return RecToolsRecommender("rectools-sasrec", folder, folder / "none", DATASET)


def test_without_the_environment(tmp_path: Path) -> None:
    run = make_run(tmp_path, tmp_path / "none")
    with pytest.raises(
        EvaluationError, match=r"no interpreter with RecTools there .* make it with `make peers`"
    ):
        find_rival("rectools-sasrec").check(run, DATASET, None)  # type: ignore[arg-type]


def test_what_the_worker_is_given_holds_no_test_target(tmp_path: Path) -> None:
    """Items 28 to 30 are test targets alone, 25 to 27 validation targets alone (tests/small_world.py)."""
    run = make_run(tmp_path, tmp_path / "none")
    with pytest.raises(EvaluationError):
        find_rival("rectools-sasrec").fit(run, DATASET, None, tmp_path)  # type: ignore[arg-type]
    with np.load(tmp_path / "fit.npz") as stored:
        assert set(stored["items"]) <= set(range(1, 25))
        assert stored["ends"][-1] == len(stored["items"])
    with np.load(tmp_path / "validation.npz") as stored:
        assert set(stored["items"]) <= {25, 26, 27}
    assert json.loads((tmp_path / "job.json").read_text())["width"] == 8


def test_items_that_rectools_never_met_follow(tmp_path: Path) -> None:
    example = DATASET.examples("test")[0]
    free = [item for item in range(1, 31) if item not in example.history]
    known = free[5:8][::-1]
    found = store(tmp_path, [*known, 0, 0]).recommend([example], 10)[0].ranking
    assert list(found[:3]) == known
    assert len(set(found)) == 10
    assert not set(found) & set(example.history)


def test_too_many_are_asked_for(tmp_path: Path) -> None:
    example = DATASET.examples("test")[0]
    left = set(range(1, 31)) - set(example.history)
    recommender = store(tmp_path, [min(left)])
    ranking = recommender.recommend([example], 30)[0].ranking
    assert len(ranking) == len(left)
    assert set(ranking) == left
    with pytest.raises(RetrievalError, match="k = 31: choose from 1 to the 30 items of the catalogue"):
        recommender.recommend([example], 31)


@pytest.mark.skipif(not PEERS.is_file(), reason="RecTools' environment is not there: make peers")
def test_the_workers_last_words_are_passed_on(tmp_path: Path) -> None:
    """Validation items of the small world are new to the fit part, so that nothing says when to stop."""
    run = make_run(tmp_path, PEERS)
    with pytest.raises(EvaluationError, match=r"no validation targets that the fit part knows$"):
        find_rival("rectools-sasrec").fit(run, DATASET, None, tmp_path)  # type: ignore[arg-type]


def test_no_lists(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"lists\.npz: not readable .* run `deeprec rival fit rectools-sasrec`"
    ):
        RecToolsRecommender("rectools-sasrec", tmp_path, PEERS, DATASET)


@pytest.mark.skipif(not PEERS.is_file(), reason="RecTools' environment is not there: make peers")
@pytest.mark.slow  # three starts of torch, Lightning and RecTools
@pytest.mark.parametrize("name", ["rectools-sasrec", "rectools-bert4rec"])
def test_a_real_fit(name: str, tmp_path: Path) -> None:
    run, rival = make_run(tmp_path, PEERS), find_rival(name)
    sizes = SyntheticConfig(users=50, items=150, genres=5, interactions_per_user=8)
    dataset = refit_data(prepare(DataConfig(synthetic=sizes), 0))
    facts = rival.fit(run, dataset, None, tmp_path)  # type: ignore[arg-type]
    assert facts["epochs"] == 2
    assert 0 < facts["validation_loss"] < 10
    recommender = rival.load(run, dataset, None, tmp_path)  # type: ignore[arg-type]
    examples = dataset.examples("test")
    stored = [answer.ranking for answer in recommender.recommend(examples, 5)]
    for example, ranking in zip(examples, stored, strict=True):
        assert len(set(ranking)) == 5
        assert not set(ranking) & set(example.history)
    assert len(set(stored)) > 1
    # A history that nobody had is ranked by the fitted weights, and so is a stored one that is asked for again.
    (tmp_path / "lists.npz").unlink()
    np.savez(tmp_path / "lists.npz", keys=np.zeros(0, "U32"), lists=np.zeros((0, 100), np.int64))
    again = rival.load(run, dataset, None, tmp_path)  # type: ignore[arg-type]
    asked = [*(replace(example, target=0) for example in examples), replace(examples[0], history=(3, 1))]
    found = [answer.ranking for answer in again.recommend(asked, 5)]
    assert found[:-1] == stored
    assert not set(found[-1]) & {1, 3}
