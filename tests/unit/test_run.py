"""The run folder: stages are kept until their inputs change, and nothing is half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeprec.config import RunConfig, load_config
from deeprec.errors import RunError
from deeprec.run import Run, fingerprint
from deeprec.stages import STAGES


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", RunConfig())


def test_a_run_reads_back_with_its_settings(tmp_path: Path) -> None:
    config = load_config(overrides=["seed=7", "data.source='here.zip'", "trm.max_minutes=1.5"])
    Run.create(tmp_path / "run", config)
    assert Run.open(tmp_path / "run").config == config


def test_a_stage_is_current_until_its_inputs_change(run: Run) -> None:
    assert not run.is_current("data", "a")
    run.begin("data")
    run.finish("data", "a", 0.5, rows=3)
    assert run.is_current("data", "a")
    assert not run.is_current("data", "b")
    record = Run.open(run.folder).finished()["data"]
    assert (record["inputs"], record["minutes"], record["rows"]) == ("a", 0.5, 3)
    assert record["versions"]["deeprec"]


def test_beginning_a_stage_forgets_it_and_all_after_it(run: Run) -> None:
    for stage in STAGES:
        run.finish(stage, "a", 0.0)
    run.begin("cold_start")
    assert sorted(run.finished()) == ["data", "trm", "trm_refit", "warm_start"]
    run.begin("trm")
    assert sorted(run.finished()) == ["data"]


def test_a_baseline_that_is_fitted_anew_leaves_the_policies_alone(run: Run) -> None:
    for stage in STAGES:
        run.finish(stage, "a", 0.0)
    run.begin("trm_refit")
    assert set(STAGES) - set(run.finished()) == {"trm_refit", "evaluation"}


def test_opening_a_run_again_keeps_finished_stages(run: Run) -> None:
    run.finish("data", "a", 0.0)
    again = Run.create(run.folder, load_config(overrides=["rl.recommendation.steps=9"]))
    assert again.is_current("data", "a")
    assert Run.open(run.folder).config.rl.recommendation.steps == 9


def test_a_run_of_another_data_set_is_refused_and_left_alone(run: Run) -> None:
    run.data.mkdir()
    before = (run.folder / "run.toml").read_text()
    with pytest.raises(RunError, match="is a run on data set 'synthetic', not 'ml-100k'; choose another"):
        Run.create(run.folder, load_config(overrides=["data.name=ml-100k"]))
    assert (run.folder / "run.toml").read_text() == before


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty and not a run folder"):
        Run.create(tmp_path, RunConfig())
    with pytest.raises(RunError, match="is a file"):
        Run.create(tmp_path / "notes.txt", RunConfig())
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_opening_what_is_no_run_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run\.toml here; make a run with `deeprec quickstart --run"):
        Run.open(tmp_path)
    (tmp_path / "run.toml").write_text("seed = \n")
    with pytest.raises(RunError, match=r"run\.toml: not valid TOML"):
        Run.open(tmp_path)


def test_a_missing_stage_names_its_command(run: Run) -> None:
    with pytest.raises(RunError, match="stage 'trm' has not been run; run `deeprec trm fit --run"):
        run.require("trm")
    run.finish("trm", "a", 0.0)
    assert run.require("trm")["inputs"] == "a"


def test_a_broken_stage_record_is_named(run: Run) -> None:
    (run.folder / "stages.json").write_text("{")
    with pytest.raises(RunError, match=r"stages\.json: can.t be read .*delete it"):
        run.finished()


def test_the_last_policy_is_the_newest_finished_one(run: Run) -> None:
    with pytest.raises(RunError, match="no trained policy yet; run `deeprec policy init"):
        run.last_policy()
    for stage in ("warm_start", "cold_start"):
        run.policy(stage).mkdir(parents=True)
    run.finish("warm_start", "a", 0.0)
    assert run.last_policy() == run.policy("warm_start")  # cold_start is there, but did not finish
    run.finish("cold_start", "a", 0.0)
    assert run.last_policy() == run.policy("cold_start")


def test_a_fingerprint_sees_values_not_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint(1, 2) != fingerprint([1, 2])
    assert len(fingerprint("x")) == 16


def test_a_rival_stands_beside_the_chain(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RunConfig())
    for stage in ("data", "trm", "rival:ease", "rival:als", "warm_start", "evaluation"):
        run.finish(stage, "x", 0.0)
    run.begin("rival:ease")
    assert set(run.finished()) == {"data", "trm", "rival:als", "warm_start", "evaluation"}
    run.begin("warm_start")
    assert set(run.finished()) == {"data", "trm", "rival:als"}
    run.begin("trm")  # rivals may build on it
    assert set(run.finished()) == {"data"}
