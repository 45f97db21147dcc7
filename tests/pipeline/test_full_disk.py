"""A disk without room: a stage is refused before it begins; what finds none is one line, and the same call goes on."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CopyRun
from file_limits import files_up_to

from deeprec import space
from deeprec.data.dataset import Dataset
from deeprec.data.stage import run_data
from deeprec.errors import DeepRecError, RunError
from deeprec.evaluation.report import write_report
from deeprec.evaluation.stage import run_evaluation
from deeprec.pipeline import build_recommenders
from deeprec.rivals.registry import run_rival
from deeprec.rl.stage import run_rl
from deeprec.rl.warm_start import run_warm_start
from deeprec.run import Run
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.refit import run_trm_refit
from deeprec.trm.stage import run_trm

Stage = Callable[[Run, Dataset, ExplorableRetriever], object]
FREE = 100_000  # bytes: less than the logs of any stage need


def evaluate(run: Run, dataset: Dataset, trm: ExplorableRetriever) -> object:
    return run_evaluation(run, dataset, trm, build_recommenders(run, ["trm"], (dataset, trm)))


STAGES: dict[str, tuple[Stage, str]] = {  # with a setting that makes it stale
    "stage 'data'": (lambda run, *_: run_data(run), "data.synthetic.seed=7"),
    "stage 'trm'": (lambda run, dataset, _: run_trm(run, dataset), "trm.epochs=3"),
    "stage 'warm_start'": (run_warm_start, "warm_start.script_steps=301"),
    "stage 'cold_start'": (lambda *parts: run_rl(*parts, "cold_start"), "rl.learning_rate=2e-3"),
    "stage 'recommendation'": (lambda *parts: run_rl(*parts, "recommendation"), "rl.cold_start.steps=0"),
    "stage 'trm_refit'": (lambda run, dataset, _: run_trm_refit(run, dataset), "rl.learning_rate=2e-3"),
    "rival 'ease'": (lambda *parts: run_rival(*parts, "ease"), "rl.learning_rate=2e-3"),
    "the evaluation on 'test'": (evaluate, "rl.learning_rate=2e-3"),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_without_room_is_refused_before_it_begins(
    copy_run: CopyRun, load_parts: Callable[[Run], tuple], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stage, setting = STAGES[name]
    run = copy_run("run", setting)
    dataset, trm = load_parts(run)
    if "recommendation" in name:
        run_rl(run, dataset, trm, "cold_start")
    before, files = run.finished(), _files(run.folder)
    usage = namedtuple("usage", "total used free")(10**12, 10**12 - FREE, FREE)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RunError) as caught:
        stage(run, dataset, trm)
    told = str(caught.value)
    assert told.startswith(f"{run.folder}: too little space: {name} needs about ")
    assert f"at {run.folder}, 0.1 MiB are free; free some, then run the same command again" in told
    assert "\n" not in told
    assert run.finished() == before
    made = _files(run.folder) - files
    assert {file for file in made if not file.endswith(".lock")} <= {"rivals"}


@pytest.mark.parametrize(
    "name",
    [
        "stage 'data'",
        "stage 'trm'",
        "stage 'trm_refit'",
        "rival 'ease'",
        "the evaluation on 'test'",
        "report",
    ],
)
def test_a_file_that_finds_no_room_is_named_and_the_same_call_goes_on(
    copy_run: CopyRun, load_parts: Callable[[Run], tuple], name: str
) -> None:
    stage, setting = STAGES.get(name, (lambda run, *_: write_report(run), "rl.learning_rate=2e-3"))
    run = copy_run("run", setting)
    dataset, trm = load_parts(run)
    if name == "report":
        evaluate(run, dataset, trm)
    kept = set(run.finished())
    with files_up_to(2000), pytest.raises((DeepRecError, OSError)) as caught:
        stage(run, dataset, trm)
    told = f"{getattr(caught.value, 'filename', '')} {caught.value}"
    assert str(run.folder) in told
    assert "File too large" in told
    assert not list(run.folder.rglob("*.part"))
    assert set(run.finished()) <= kept  # nothing that looks finished and isn't
    stage(run, dataset, trm)


def _files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*")}
