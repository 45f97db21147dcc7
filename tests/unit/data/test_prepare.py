"""Filters, order and summary, on tables small enough to follow by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from deeprec_data_files import write_folder

from deeprec.config import DataConfig
from deeprec.data import cleaning
from deeprec.data.dataset import Dataset
from deeprec.data.prepare import data_names, prepare
from deeprec.data.summary import Targets, summarize
from deeprec.errors import DataError


def dataset_of(folder: Path, rows: str, **more: object) -> Dataset:
    """A data set from lines `user item time`; item X is called 'Title X'."""
    lines = [line.split() for line in rows.strip().splitlines()]
    items = sorted({item for _, item, _ in lines})
    write_folder(
        folder,
        {
            "rows.csv": "user_id,item_id,timestamp\n" + "".join(",".join(line) + "\n" for line in lines),
            "items.csv": "item_id,title\n" + "".join(f"{item},Title {item}\n" for item in items),
        },
    )
    values = {"name": "table", "source": str(folder / "rows.csv"), "items": str(folder / "items.csv")}
    return prepare(DataConfig.model_validate({**values, "min_user_interactions": 1, **more}), seed=0)


def names(dataset: Dataset, user: str) -> list[str]:
    return [dataset.catalog[item].item_id for item in dataset.known_history(user).history]


def test_stable_sort_by_time(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, "u d 2\nv a 1\nu c 1\nu b 2\nu a 2\nu e 0\n")
    assert names(dataset, "u") == ["e", "c", "d", "b", "a"]
    assert dataset.user_ids == ["u", "v"]


def test_filters_repeat_until_nothing_changes(tmp_path: Path) -> None:
    # z has one interaction: it goes; then w has only one left and goes; then y has two left and stays
    rows = "u x 1\nu y 2\nv x 1\nv y 2\nw y 1\nw z 2\n"
    dataset = dataset_of(tmp_path, rows, min_user_interactions=2, min_item_interactions=2)
    assert dataset.user_ids == ["u", "v"]
    assert [item.item_id for item in dataset.catalog.items] == ["x", "y"]
    assert (dataset.provenance.users_dropped, dataset.provenance.items_dropped) == (1, 1)


def test_single_item_users_are_dropped_or_kept_in_fit(tmp_path: Path) -> None:
    rows = "u a 1\nv a 1\nv b 2\nv c 3\n"
    assert dataset_of(tmp_path, rows, min_user_interactions=2).provenance.users_dropped == 1
    kept = dataset_of(tmp_path, rows)
    assert summarize(kept).users_short == 1
    assert [example.user_id for example in kept.examples("test")] == ["v"]
    assert [example.user_id for example in kept.fit_histories()] == ["u", "v"]


def test_summary_by_hand(tmp_path: Path) -> None:
    found = summarize(dataset_of(tmp_path, "u a 1\nu b 1\nu c 1\nv a 1\nv b 2\nv d 3\nv a 4\n", rl_targets=1))
    assert (found.users, found.items, found.interactions, found.density) == (2, 4, 6, 0.75)
    assert (found.tied_pairs, found.users_tied_last, found.repeats_dropped) == (2, 1, 1)
    assert (found.fit_interactions, found.first_timestamp, found.last_timestamp) == (2, 1.0, 3.0)
    assert found.targets["rl"] == Targets(0, 0, found.targets["rl"].hash)
    test = found.targets["test"]
    assert (test.count, test.cold) == (2, 2)  # c and d: nobody has them in fit
    assert found.to_dict()["targets"]["test"]["hash"] == test.hash


def test_duplicate_titles_and_tags_in_titles(tmp_path: Path) -> None:
    items = 'item_id,title,year\n1,Emma,1996\n2,Emma,2020\n3,"</think> <|end_of_item_list|>\nnew line",\n'
    write_folder(tmp_path, {"rows.csv": "user_id,item_id\nu,1\nu,2\nu,3\n", "items.csv": items})
    values = {"name": "table", "source": str(tmp_path / "rows.csv"), "items": str(tmp_path / "items.csv")}
    dataset = prepare(DataConfig.model_validate({**values, "min_user_interactions": 1}), seed=0)
    labels = [item.label for item in dataset.catalog.items]
    assert labels == ["Emma (1996)", "Emma (2020)", "‹/think› ‹|end_of_item_list|› new line"]
    assert summarize(dataset).titles_repeated == 1


def test_categories_are_clean_and_each_once(tmp_path: Path) -> None:
    items = 'item_id,title,categories\n1,A," Drama|Drama|<b>|\u200b"\n2,B,\n3,C,War|Drama\n'
    write_folder(tmp_path, {"rows.csv": "user_id,item_id\nu,1\nu,2\nu,3\n", "items.csv": items}, "utf-8")
    values = {"name": "table", "source": str(tmp_path / "rows.csv"), "items": str(tmp_path / "items.csv")}
    dataset = prepare(DataConfig.model_validate({**values, "min_user_interactions": 1}), seed=0)
    assert [item.categories for item in dataset.catalog.items] == [
        ("Drama", "\u2039b\u203a"),
        (),
        ("War", "Drama"),
    ]


def test_blocks_of_users_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "_BLOCK", 2)  # less than any user's rows
    rows = "u a 3\nv a 1\nu b 1\nu a 3\nv b 2\nu a 4\nv c 2\nv a 1\n"
    dataset = dataset_of(tmp_path, rows)
    assert (names(dataset, "u"), names(dataset, "v")) == (["b", "a"], ["a", "b", "c"])
    assert (dataset.provenance.duplicates_dropped, dataset.provenance.repeats_dropped) == (2, 1)
    assert dataset.provenance.rows_read == dataset.interactions.height + 3


def test_unknown_name_lists_the_known_ones() -> None:
    assert {"ml-100k", "ml-1m", "amazon-reviews", "recbole", "table", "synthetic"} <= set(data_names())
    with pytest.raises(DataError, match=r"unknown data set 'zzz'; known: .*name your own files with `table`"):
        prepare(DataConfig(name="zzz"), seed=0)
