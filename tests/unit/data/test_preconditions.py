"""What the data lack for a stage is said before any stage has begun."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from deeprec_data_files import make_dataset, write_folder
from typer.testing import CliRunner

from deeprec.cli.data import app
from deeprec.config import load_config
from deeprec.data.preconditions import check_targets, missing_targets
from deeprec.errors import DataError
from deeprec.pipeline import run_pipeline
from deeprec.run import Run


def test_enough_for_everything() -> None:
    dataset = make_dataset({"a": [1, 2, 3, 4, 5], "b": [2, 3, 4, 5, 6]})
    assert missing_targets(dataset, load_config()) == ""


@pytest.mark.parametrize(
    ("histories", "settings", "problem"),
    [
        (
            {"a": [1, 2], "b": [3]},
            (),
            "no user has a test target: that takes 3 interactions .* longest history has 2",
        ),
        ({"a": [1, 2, 3, 4]}, (), "no user has an RL target: that takes 5 .* history has 4"),
        (
            {"a": [1, 2, 3, 4]},
            ("data.rl_targets=0",),
            "no user has an RL target, since data.rl_targets = 0; raise it",
        ),
        ({"a": [1, 2, 3, 4, 5], "b": [1, 2]}, (), "only 1 user has RL targets, and each of the two stages"),
    ],
)
def test_what_is_lacking_is_named(
    histories: dict[str, list[int]], settings: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        check_targets(make_dataset(histories), load_config(overrides=settings))


def test_without_rl_no_rl_targets_are_needed() -> None:
    dataset = make_dataset({"a": [1, 2, 3, 4]})
    assert (
        missing_targets(
            dataset, load_config(overrides=["rl.cold_start.steps=0", "rl.recommendation.steps=0"])
        )
        == ""
    )
    none = replace(dataset, interactions=dataset.interactions.clear())
    assert "longest history has 0" in missing_targets(none, load_config())


def short(folder: Path) -> list[str]:
    rows = "user_id,item_id,title\n" + "".join(
        f"u{user},i{n},Title {n}\n" for user in range(9) for n in range(4)
    )
    source = write_folder(folder, {"rows.csv": rows}) / "rows.csv"
    return ["data.name=table", f'data.source="{source}"', "data.min_user_interactions=1"]


def test_quickstart_finds_out_before_the_trm(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", load_config("ci", overrides=short(tmp_path / "a")))
    with pytest.raises(
        DataError, match="RL target: that takes 5 interactions of a user, the longest history has 4"
    ):
        run_pipeline(run)
    assert list(run.finished()) == ["data"]
    assert not run.trm.exists()


def test_prepare_says_so_and_is_done(tmp_path: Path) -> None:
    sets = [word for setting in short(tmp_path / "a")[1:] for word in ("--set", setting)]
    outcome = CliRunner().invoke(app, ["prepare", "table", "--run", str(tmp_path / "run"), *sets])
    assert outcome.exit_code == 0
    assert "not enough for every stage: data set 'table:rows': no user has" in outcome.stderr
