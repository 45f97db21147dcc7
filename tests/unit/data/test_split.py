"""The split by time and its leakage check."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from deeprec_data_files import make_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from deeprec.data.dataset import Dataset
from deeprec.data.split import check_split, split_by_time
from deeprec.errors import DataError

HISTORIES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.lists(st.integers(1, 9), min_size=1, max_size=9, unique=True),
    min_size=1,
    max_size=6,
)


def parts(dataset: Dataset) -> dict[str, str]:
    """First letters of the parts, by user."""
    short = {"fit": "f", "script": "s", "rl": "r", "validation": "v", "test": "t"}
    rows = dataset.interactions.select("user_id", "part").rows()
    users = dict.fromkeys(user for user, _ in rows)
    return {user: "".join(short[part] for owner, part in rows if owner == user) for user in users}


def test_parts_by_length(hand_dataset: Dataset) -> None:
    assert parts(hand_dataset) == {"a": "fffrrvt", "b": "ffvt", "c": "fvt", "d": "ff"}


@pytest.mark.parametrize(
    ("targets", "wanted"), [(0, "fffffvt"), (1, "ffffrvt"), (3, "ffrrrvt"), (9, "ffrrrvt")]
)
def test_two_interactions_stay_in_fit(targets: int, wanted: str) -> None:
    assert parts(make_dataset({"a": [1, 2, 3, 4, 5, 6, 7]}, rl_targets=targets))["a"] == wanted


@settings(max_examples=50, deadline=None)
@given(HISTORIES, st.integers(0, 4))
def test_no_overlap_and_by_time(histories: dict[str, list[int]], rl_targets: int) -> None:
    dataset = make_dataset(histories, rl_targets=rl_targets)
    check_split(dataset)
    fit = {example.user_id: example for example in dataset.fit_histories()}
    assert list(fit) == list(histories)
    for part in ("rl", "validation", "test"):
        for example in dataset.examples(part):
            whole = histories[example.user_id]
            assert (*example.history, example.target) == tuple(whole[: len(example.history) + 1])
            assert example.target not in fit[example.user_id].history
            assert example.timestamp is not None
            assert max(fit[example.user_id].timestamps) < example.timestamp
            assert all(time < example.timestamp for time in example.timestamps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.col("part").reverse(), "a later part comes before an earlier one"),
        (pl.col("timestamp").reverse(), "goes back in time"),
        (pl.lit("test").alias("part"), "more than one target in a part"),
        (pl.lit("train").alias("part"), "unknown part"),
        (pl.col("item_index") + 4, "item index outside the catalogue"),
        (pl.lit(1, dtype=pl.Int32).alias("item_index"), "an item stands twice"),
        (pl.Series("user_id", ["a", "b", "a", "b", "a", "b", "a"]), "rows of one user are apart"),
    ],
)
def test_leaks_are_refused(change: pl.Expr, message: str) -> None:
    dataset = make_dataset({"a": [1, 2, 3, 4, 5, 6, 7]})
    rows = dataset.interactions.with_columns(change)
    if message == "rows of one user are apart":
        rows = rows.with_columns(pl.lit("fit").alias("part"))
    with pytest.raises(DataError, match=message):
        check_split(replace(dataset, interactions=rows))


@pytest.mark.parametrize(
    ("rl", "script", "wanted"), [(1, 1, "fffsrvt"), (1, 9, "ffssrvt"), (3, 3, "ffrrrvt"), (0, 2, "fffssvt")]
)
def test_script_targets_come_before_the_rl_targets(rl: int, script: int, wanted: str) -> None:
    frame = make_dataset({"a": [1, 2, 3, 4, 5, 6, 7]}).interactions.drop("part")
    rows = split_by_time(frame, rl, script)
    assert "".join(part[0] for part in rows["part"]) == wanted


def test_only_so_many_users_have_targets_held_back_from_the_trm() -> None:
    frame = make_dataset({user: [1, 2, 3, 4, 5, 6, 7] for user in "abcdefgh"}).interactions.drop("part")
    few, more = split_by_time(frame, 2, 1, rl_users=3), split_by_time(frame, 2, 1, rl_users=5)
    held_back = [set(rows.filter(pl.col("part").is_in(["rl", "script"]))["user_id"]) for rows in (few, more)]
    assert [len(users) for users in held_back] == [3, 5]
    assert held_back[0] < held_back[1]
    assert few.group_by("part").len().sort("part").rows() == [
        ("fit", 5 * 5 + 3 * 2), ("rl", 6), ("script", 3), ("test", 8), ("validation", 8),
    ]  # fmt: skip
