"""A fit that is interrupted goes on from its checkpoint and ends as one that nothing disturbed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from deeprec.config import load_config
from deeprec.data.dataset import Dataset
from deeprec.data.stage import run_data
from deeprec.disk import read_jsonl
from deeprec.run import Run
from deeprec.trm import training
from deeprec.trm.refit import run_trm_refit
from deeprec.trm.stage import run_trm

SETTINGS = (
    "data.synthetic.users=150", "data.synthetic.items=80", "data.synthetic.interactions_per_user=20",
    "trm.width=32", "trm.layers=1", "trm.text_dim=32", "trm.history=16", "trm.epochs=12",
    "trm.patience=12", "trm.dropout=0.1", "trm.tokens_per_batch=272", "trm.preference_steps=20",
)  # fmt: skip
_TIMES = ("seconds", "train_seconds")
Stage = Callable[[Run, Dataset], Any]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run.create(tmp_path_factory.mktemp("runs") / "straight", load_config(overrides=SETTINGS))
    dataset = run_data(run)
    run_trm(run, dataset)
    run_trm_refit(run, dataset)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", load_config(overrides=SETTINGS))


def interrupt_after(epochs: int, monkeypatch: pytest.MonkeyPatch, stage: Stage, run: Run) -> None:
    """Run the stage, and interrupt it in the epoch after so many."""
    calls: list[int] = []
    epoch = training.EncoderTrainer.epoch

    def counted(self: training.EncoderTrainer, histories: Any) -> tuple[float, int]:
        calls.append(1)
        if len(calls) > epochs:
            raise KeyboardInterrupt
        return epoch(self, histories)

    with monkeypatch.context() as patch:
        patch.setattr(training.EncoderTrainer, "epoch", counted)
        with pytest.raises(KeyboardInterrupt):
            stage(run, run_data(run))


def timeless(run: Run, stage: str) -> list[dict[str, Any]]:
    rows = [row for row in read_jsonl(run.metrics) if row["stage"] == stage]
    return [{key: value for key, value in row.items() if key not in _TIMES} for row in rows]


@pytest.mark.parametrize(
    ("stage", "name", "folder"), [(run_trm, "trm", "trm"), (run_trm_refit, "trm_refit", "trm-refit")]
)
def test_an_interrupted_fit_ends_as_an_uninterrupted_one(
    stage: Stage, name: str, folder: str, run: Run, straight: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.trm.resuming._COST", 1e9)  # a checkpoint after every epoch
    if name == "trm_refit":
        run_trm(run, run_data(run))
    interrupt_after(3, monkeypatch, stage, run)
    assert name not in run.finished()
    assert len(timeless(run, name)) == 3
    interrupt_after(4, monkeypatch, stage, run)  # once more, and later
    assert len(timeless(run, name)) == 7  # so it went on
    stage(run, run_data(run))
    assert timeless(run, name) == timeless(straight, name)
    assert run.finished()[name].get("validation") == straight.finished()[name].get("validation")
    expected, found = (load_file(one.folder / folder / "model.safetensors") for one in (straight, run))
    for weight in expected:
        np.testing.assert_array_equal(expected[weight], found[weight], err_msg=weight)
    assert not list(run.folder.glob("*.checkpoints"))


@pytest.mark.parametrize(("stage", "name"), [(run_trm, "trm"), (run_trm_refit, "trm_refit")])
def test_rows_behind_the_checkpoint_are_written_once(
    stage: Stage, name: str, run: Run, straight: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.trm.resuming._COST", 1e-9)  # the first epoch alone
    interrupt_after(5, monkeypatch, stage, run)
    stage(run, run_data(run))
    assert timeless(run, name) == timeless(straight, name)


def test_a_damaged_checkpoint_is_told_and_the_fit_begins_again(
    run: Run, straight: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    interrupt_after(2, monkeypatch, run_trm, run)
    (file,) = run.folder.glob("trm.checkpoints/*/state.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        run_trm(run, run_data(run))
    assert "trm.checkpoints" in caplog.text
    assert "so the fit begins again" in caplog.text
    assert timeless(run, "trm") == timeless(straight, "trm")


def test_other_settings_begin_a_fit_of_their_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(3, monkeypatch, run_trm, run)
    other = Run.create(run.folder, load_config(overrides=[*SETTINGS, "seed=5"]))
    run_trm(other, run_data(other))
    rows = timeless(other, "trm")
    assert [row["epoch"] for row in rows if "epoch" in row] == list(range(1, 13))
    assert not list(run.folder.glob("*.checkpoints"))
