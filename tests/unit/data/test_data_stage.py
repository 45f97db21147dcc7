"""The data stage runs once, and again only when its inputs changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from deeprec_data_files import ML_100K, write_folder

from deeprec.config import load_config, override_config
from deeprec.data import stage
from deeprec.data.stage import load_data, run_data
from deeprec.errors import DataError, RunError
from deeprec.run import Run

SMALL = ["data.synthetic.users=40", "data.synthetic.items=60", "data.synthetic.genres=4"]


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the data sets that were prepared anew."""
    calls: list[str] = []
    real = stage.prepare

    def counted(config, seed, cache=None):  # type: ignore[no-untyped-def]
        calls.append(config.name)
        return real(config, seed, cache)

    monkeypatch.setattr(stage, "prepare", counted)
    return calls


def test_second_run_reads(tmp_path: Path, prepared: list[str]) -> None:
    run = Run.create(tmp_path / "run", load_config(overrides=SMALL))
    first = run_data(run)
    assert run_data(run).fingerprint == first.fingerprint == load_data(run).fingerprint
    assert prepared == ["synthetic"]


def test_the_simulation_has_a_seed_of_its_own(tmp_path: Path, prepared: list[str]) -> None:
    """Runs that differ in `seed` alone are compared: they must meet the same users."""

    def go(*overrides: str) -> str:
        return run_data(Run.create(tmp_path / "run", load_config(overrides=[*SMALL, *overrides]))).fingerprint

    first = go()
    assert go("seed=1") == first
    assert prepared == ["synthetic"]
    other = go("data.synthetic.seed=1")
    assert other != first
    assert prepared == ["synthetic"] * 2
    assert go() == first


def test_source_content_counts_and_its_place_does_not(tmp_path: Path, prepared: list[str]) -> None:
    def go(source: Path) -> str:
        settings = ["data.name=ml-100k", f'data.source="{source}"', "data.min_user_interactions=1", "seed=3"]
        return run_data(Run.create(tmp_path / "run", load_config(overrides=settings))).fingerprint

    first = go(write_folder(tmp_path / "a", ML_100K))
    assert go(write_folder(tmp_path / "b", ML_100K)) == first
    assert go(tmp_path / "gone") == first  # already prepared: the source is not needed any more
    assert len(prepared) == 1
    changed = ML_100K["u.data"].replace("2\t2\t4\t40", "2\t2\t4\t1")
    assert go(write_folder(tmp_path / "a", {**ML_100K, "u.data": changed})) != first
    assert len(prepared) == 2


def test_a_failed_preparation_leaves_nothing(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "a", {**ML_100K, "u.item": ""})
    run = Run.create(
        tmp_path / "run", load_config(overrides=["data.name=ml-100k", f'data.source="{source}"'])
    )
    with pytest.raises(DataError, match="catalogue is empty"):
        run_data(run)
    assert [entry.name for entry in run.folder.iterdir()] == ["run.lock"]
    with pytest.raises(RunError, match="deeprec data prepare ml-100k"):
        load_data(run)


def test_refused_settings_leave_those_from_before(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "a", ML_100K)
    settings = ["data.name=ml-100k", f'data.source="{source}"', "data.min_user_interactions=1"]
    config = load_config(overrides=settings)
    run = Run.create(tmp_path / "run", config)
    first = run_data(run).fingerprint
    refused = Run.create(run.folder, override_config(config, ["data.min_user_interactions=100"]))
    with pytest.raises(DataError, match="no interaction is left"):
        run_data(refused)
    assert Run.open(run.folder).config == config
    assert load_data(run).fingerprint == first  # what was made is still there
    accepted = Run.create(run.folder, override_config(config, ["data.min_user_interactions=2"]))
    run_data(accepted)
    accepted.give_up()  # too late
    assert Run.open(run.folder).config.data.min_user_interactions == 2
