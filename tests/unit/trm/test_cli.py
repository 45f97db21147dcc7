from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deeprec.cli.trm import app
from deeprec.config import DataConfig, RunConfig, SyntheticConfig, TRMConfig
from deeprec.data.stage import run_data
from deeprec.errors import ConfigError, DataError, RunError
from deeprec.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    sizes = SyntheticConfig(users=40, items=40, genres=5, interactions_per_user=14)
    trm = TRMConfig(width=16, layers=1, text_dim=16, experts=1, history=12, epochs=1, preference_steps=20)
    run = Run.create(
        tmp_path_factory.mktemp("cli") / "run", RunConfig(data=DataConfig(synthetic=sizes), trm=trm)
    )
    run_data(run)
    return run


@pytest.fixture(scope="module")
def fitted(run: Run) -> str:
    result = CliRunner().invoke(app, ["fit", "--run", str(run.folder), "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["epoch"] == 1
    return str(run.folder)


def test_show_prints_plain_beside_steered(fitted: str) -> None:
    arguments = ["show", "--run", fitted, "--user", "u1", "--preference", "Comedy", "-k", "4"]
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    lists = json.loads(result.stdout)
    assert lists["preference"] == "Comedy"
    assert [len(lists[name]) for name in ("plain", "steered")] == [4, 4]
    table = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert "Comedy" in table
    assert "no preference" in table


def test_show_answers_a_user_without_history(fitted: str) -> None:
    arguments = ["show", "--run", fitted, "--preference", "Comedy", "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert len(json.loads(result.stdout)["steered"]) == 10


def test_evaluate_compares_on_one_set_of_targets(fitted: str) -> None:
    arguments = ["evaluate", "--run", fitted, "--part", "validation"]
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    found = json.loads(result.stdout)
    methods = [row["method"] for row in found["methods"]]
    assert methods[:3] == ["popularity", "item-knn", "trm"]
    assert "trm + true phrase" in methods
    assert [pool["turns"] for pool in found["pools"]] == [1, 2, 3, 4]
    assert 0 <= found["steering"]["overlap"] <= 1
    assert len(found["targets"]) == 16
    assert "item-knn" in CliRunner().invoke(app, arguments, catch_exceptions=False).stdout


def test_bad_requests_are_our_errors(fitted: str, tmp_path: Path) -> None:
    def error(*arguments: str) -> BaseException | None:
        return CliRunner().invoke(app, list(arguments)).exception

    assert isinstance(error("show", "--run", fitted, "--user", "nobody", "--preference", "x"), DataError)
    assert isinstance(error("evaluate", "--run", fitted, "--part", "fit"), ConfigError)
    assert isinstance(error("fit", "--run", str(tmp_path / "none")), RunError)
