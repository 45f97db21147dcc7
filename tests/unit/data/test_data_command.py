"""`deeprec data`: tables for people, JSON for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deeprec_data_files import ML_100K, write_folder
from typer.testing import CliRunner

from deeprec.cli.data import app
from deeprec.config import RunConfig, load_config
from deeprec.errors import DataError, RunError
from deeprec.run import Run


def test_prepare_and_show(tmp_path: Path) -> None:
    source, run = write_folder(tmp_path / "x", ML_100K), tmp_path / "run"
    arguments = [
        "prepare",
        "ml-100k",
        "--source",
        str(source),
        "--run",
        str(run),
        "--set",
        "data.min_user_interactions=1",
    ]
    table = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert table.exit_code == 0
    for word in ("data set ml-100k", "tied neighbours", "validation"):
        assert word in table.stdout
    shown = CliRunner().invoke(app, ["show", "--run", str(run), "--json"], catch_exceptions=False)
    summary = json.loads(shown.stdout)
    assert (summary["users"], summary["items"], summary["interactions"]) == (2, 3, 6)
    again = CliRunner().invoke(
        app, ["prepare", "ml-100k", "--run", str(run), "--json"], catch_exceptions=False
    )
    assert json.loads(again.stdout) == summary  # settings and source are those of the run


def test_a_run_begins_as_with_quickstart(tmp_path: Path) -> None:
    """Who goes stage by stage has the preset of the data set, or the one that is named, or a file."""
    source = write_folder(tmp_path / "x", ML_100K)
    few = ["--set", "data.min_user_interactions=1", "--set", "data.rl_targets=0"]

    def prepared(folder: str, *arguments: str) -> RunConfig:
        run = tmp_path / folder
        outcome = CliRunner().invoke(
            app, ["prepare", *arguments, *few, "--run", str(run)], catch_exceptions=False
        )
        assert outcome.exit_code == 0, outcome.output
        return Run.open(run).config

    named = prepared("a", "ml-100k", "--source", str(source))
    assert named.rl == load_config("ml-100k").rl
    assert prepared("b", "ml-100k", "--source", str(source), "--preset", "ci").rl == load_config("ci").rl
    file = tmp_path / "mine.toml"
    file.write_text(f'seed = 7\n[data]\nname = "ml-100k"\nsource = "{source}"\n')
    assert prepared("c", "--config", str(file)).seed == 7
    assert prepared("c", "--set", "rl.users_per_step=3").seed == 7  # a run that is there keeps its settings


def test_names() -> None:
    assert "ml-1m" in json.loads(CliRunner().invoke(app, ["names", "--json"]).stdout)


def test_errors_of_the_library_come_through(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        CliRunner().invoke(
            app,
            ["prepare", "ml-1m", "--source", "nowhere", "--run", str(tmp_path / "r")],
            catch_exceptions=False,
        )
    with pytest.raises(RunError, match=r"no run\.toml here"):
        CliRunner().invoke(app, ["show", "--run", str(tmp_path)], catch_exceptions=False)
