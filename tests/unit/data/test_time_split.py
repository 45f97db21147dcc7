"""The global time split: nothing after a time is seen by anything before it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from deeprec.config import DataConfig, load_config
from deeprec.data.dataset import Dataset
from deeprec.data.format import read_dataset, write_dataset
from deeprec.data.prepare import prepare
from deeprec.data.split import check_split, refit_data, split_at
from deeprec.data.stage import run_data
from deeprec.errors import DataError
from deeprec.run import Run

CUTS = (10.0, 20.0, 30.0)


def rows(**users: list[float]) -> pl.DataFrame:
    """Interactions at these times; items are 1, 2, ... for each user."""
    table = [
        (user, place, time, None) for user, times in users.items() for place, time in enumerate(times, 1)
    ]
    schema = {"user_id": pl.String, "item_index": pl.Int32, "timestamp": pl.Float64, "rating": pl.Float32}
    return pl.DataFrame(table, schema=schema, orient="row")


def parts(frame: pl.DataFrame, user: str) -> list[str]:
    return frame.filter(pl.col("user_id") == user)["part"].to_list()


def test_parts_by_window() -> None:
    split = split_at(
        rows(
            old=[1, 2, 3, 11, 12, 13, 14, 21, 22, 31, 32],
            new=[11, 12, 13, 21, 22],
            newest=[21, 22, 23, 31],
            unknown=[30, 31, 32, 33],
        ),
        CUTS,
        rl_targets=2,
        script_targets=1,
    )
    assert parts(split, "old") == [
        "fit", "fit", "fit", "lead", "script", "rl", "rl", "validation", "gap", "test",
    ]  # fmt: skip
    assert parts(split, "new") == ["lead", "lead", "rl", "validation", "gap"]  # a target needs two before it
    assert parts(split, "newest") == ["gap", "gap", "gap", "test"]
    # Two later rows are a past for nobody: what comes after the test time is seen by nothing.
    assert parts(split, "unknown") == []


def test_a_cut_belongs_to_the_later_side() -> None:
    split = split_at(rows(a=[8, 9, 10, 20, 30]), CUTS, rl_targets=3)
    assert parts(split, "a") == ["fit", "fit", "rl", "validation", "test"]


def test_only_some_users_teach() -> None:
    split = split_at(rows(a=[1, 2, 11], b=[1, 2, 11], c=[1, 2, 11]), CUTS, rl_targets=1, rl_users=1)
    assert split["part"].to_list().count("rl") == 1
    assert split["part"].to_list().count("lead") == 2


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    config = DataConfig(split="time", min_user_interactions=3, min_item_interactions=2)
    return prepare(config, seed=0)


def test_nothing_is_seen_before_its_time(dataset: Dataset) -> None:
    rl, validation, test = dataset.protocol.cuts
    check_split(dataset)
    assert all(max(user.timestamps) < rl for user in dataset.fit_histories())
    for part, low, high in (("rl", rl, validation), ("validation", validation, test), ("test", test, np.inf)):
        examples = dataset.examples(part)  # type: ignore[arg-type]
        assert examples
        for example in examples:
            assert example.timestamp is not None
            assert low <= example.timestamp < high
            if part != "rl":  # the whole history is older than the cut, not just than the target
                assert max(example.timestamps) < low
    assert all(max(user.timestamps) < validation for user in refit_data(dataset).fit_histories())
    assert dataset.provenance.later_dropped > 0


def test_what_becomes_popular_later_is_not_known(dataset: Dataset) -> None:
    """The filters count what is older than the test time alone."""
    old = dataset.interactions.filter(pl.col("timestamp") < dataset.protocol.cuts[-1])
    assert old.group_by("item_index").len()["len"].min() >= 2  # type: ignore[operator]
    assert old.group_by("user_id").len()["len"].min() >= 3  # type: ignore[operator]


def test_a_row_on_the_wrong_side_is_refused(dataset: Dataset) -> None:
    from dataclasses import replace

    early = pl.when(pl.col("part") == "test").then(dataset.protocol.cuts[-1] - 1).otherwise("timestamp")
    moved = dataset.interactions.with_columns(early.alias("timestamp"))
    with pytest.raises(DataError, match=r"on the wrong side of a cut|goes back in time"):
        check_split(replace(dataset, interactions=moved))


def test_saved_and_read(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path / "data")
    again = read_dataset(tmp_path / "data")
    assert again.protocol == dataset.protocol
    assert str(again.protocol).startswith("global time split, test from 2020-")


def test_days_as_cuts() -> None:
    days = (date(2020, 5, 1), date(2020, 5, 11), date(2020, 5, 21))
    found = prepare(DataConfig(split="time", time_cuts=days), seed=0)
    assert found.protocol.cuts == (1588291200.0, 1589155200.0, 1590019200.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"time_shares": (0.5, 0.1, 0.6)}, "below 1"),
        ({"time_shares": (0.1, 0.1, 0.0)}, "above 0"),
        ({"time_cuts": ("1990-01-01", "1991-01-01", "1992-01-01")}, "do not divide its times"),
        ({"time_cuts": ("2020-05-01", "2020-05-01", "2020-05-02")}, "do not divide its times"),
    ],
)
def test_cuts_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(DataConfig.model_validate({"split": "time", **settings}), seed=0)


def test_without_times_there_is_no_time_split(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id\n" + "\n".join(f"u{n % 3},i{n}" for n in range(30)))
    (tmp_path / "items.csv").write_text("item_id,title\n" + "\n".join(f"i{n},T{n}" for n in range(30)))
    config = DataConfig(
        name="table",
        source=str(tmp_path / "log.csv"),
        items=str(tmp_path / "items.csv"),
        split="time",
        order="source",
    )
    with pytest.raises(DataError, match=r"no timestamp; data\.split = 'time' needs one"):
        prepare(config, seed=0)


def test_a_set_prepared_before_stays_current(tmp_path: Path) -> None:
    """The new settings, left alone, change nothing of a data stage's fingerprint."""
    run = Run.create(tmp_path / "run", load_config("synthetic", overrides=["data.synthetic.users=30"]))
    run_data(run)
    with_shares = load_config(
        "synthetic", overrides=["data.synthetic.users=30", "data.time_shares=[0.1, 0.1, 0.2]"]
    )
    before = run.finished()["data"]["time"], run.finished()["data"]["inputs"]
    run_data(Run.create(tmp_path / "run", with_shares))
    assert (run.finished()["data"]["time"], run.finished()["data"]["inputs"]) == before
    in_time = load_config("synthetic", overrides=["data.synthetic.users=30", "data.split=time"])
    run_data(Run.create(tmp_path / "run", in_time))
    assert run.finished()["data"]["inputs"] != before[1]
