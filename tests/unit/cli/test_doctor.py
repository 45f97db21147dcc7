"""`deeprec doctor`: facts about the machine, and what is wrong with a run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from deeprec import doctor as library
from deeprec.config import load_config
from deeprec.data.stage import run_data
from deeprec.distribution import NAME, install_command
from deeprec.run import Run


def test_versions_devices_and_extras(deeprec: Callable) -> None:
    outcome = deeprec("doctor", "--json")
    assert outcome.code == 0
    machine = json.loads(outcome.out)["machine"]
    assert machine["versions"]["deeprec"] == metadata.version(NAME)
    assert machine["versions"]["torch"] == metadata.version("torch")
    assert machine["cores"] >= 1
    assert machine["disk"]["free_bytes"] > 0
    extras = {extra["name"]: extra for extra in machine["extras"]}
    assert {"train", "encoders", "dev"} <= set(extras)
    assert extras["train"]["install"] == install_command("train")


def test_an_extra_that_is_not_installed_comes_with_its_command(
    deeprec: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["numpy>=1", "no-such-package>=1; extra == 'wings'", "deeprec-llm[wings]; extra == 'dev'"]
    monkeypatch.setattr(library.metadata, "requires", lambda _: lines)
    outcome = deeprec("doctor")
    assert outcome.code == 0
    assert f"lacks no-such-package; to have it: {install_command('wings')}" in outcome.out


def test_the_cache_is_where_the_variable_says(
    deeprec: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEEPREC_CACHE", str(tmp_path))
    assert json.loads(deeprec("doctor", "--json").out)["machine"]["cache"] == str(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.create(tmp_path / "run", load_config(overrides=["data.synthetic.users=30"]))
    fingerprint = run_data(run).fingerprint
    run.finish("data", "a", 0.25, fingerprint=fingerprint)
    return run


def problems_of(deeprec: Callable, run: Run) -> tuple[int, list[str]]:
    outcome = deeprec("doctor", "--run", run.folder, "--json")
    return outcome.code, json.loads(outcome.out)["run"]["problems"]


def test_a_half_done_run_is_no_problem(deeprec: Callable, run: Run) -> None:
    assert problems_of(deeprec, run) == (0, [])
    shown = deeprec("doctor", "--run", run.folder).out
    assert "0.25 minutes" in shown
    assert shown.count("not yet") == 6


def test_what_a_stage_left_must_still_be_there(deeprec: Callable, run: Run) -> None:
    (run.data / "dataset.json").unlink()
    code, problems = problems_of(deeprec, run)
    assert code == 1
    (problem,) = problems
    assert problem.startswith(f"stage 'data': {run.data / 'dataset.json'} is gone; restore it from a copy")
    assert f"or delete {run.data}, then `deeprec data prepare --run {run.folder}` makes it again" in problem


def test_a_stage_needs_the_one_before(deeprec: Callable, run: Run) -> None:
    folder = run.policy("cold_start")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    run.finish("cold_start", "a", 1.0)
    assert problems_of(deeprec, run) == (
        1,
        ["stage 'cold_start' finished, but 'warm_start' before it did not"],
    )


def test_leftovers_and_broken_logs_are_named(deeprec: Callable, run: Run) -> None:
    (run.folder / "trm.part").mkdir()
    (run.folder / f"trm.{os.getppid()}-0.part").mkdir()  # somebody is at work on this one
    run.metrics.write_text('{"step": 1}\n{oops\n{"step": 2}\n')
    code, problems = problems_of(deeprec, run)
    assert code == 1
    assert len(problems) == 2
    assert str(run.folder / "trm.part") in problems[0]
    assert "metrics.jsonl line 2" in problems[1]


def test_a_run_is_named_once(deeprec: Callable, run: Run, tmp_path: Path) -> None:
    assert deeprec("doctor", run.folder).out == deeprec("doctor", "--run", run.folder).out
    outcome = deeprec("doctor", run.folder, "--run", tmp_path)
    assert outcome.code == 2
    assert "name one" in outcome.err
