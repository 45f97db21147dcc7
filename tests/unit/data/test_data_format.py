"""What is written is what is read; anything else is refused with file and remedy."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from deeprec_data_files import make_dataset

from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.data.format import read_dataset, write_dataset
from deeprec.data.summary import summarize
from deeprec.errors import DataError


def test_round_trip(hand_dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_dataset(hand_dataset, folder)
    again = read_dataset(folder)
    assert again.catalog == hand_dataset.catalog
    assert again.interactions.equals(hand_dataset.interactions)
    assert again.fingerprint == hand_dataset.fingerprint
    assert summarize(again) == summarize(hand_dataset)
    names = sorted(file.name for file in folder.iterdir())
    assert names == ["dataset.json", "interactions.parquet", "items.parquet", "users.parquet"]
    manifest = json.loads((folder / "dataset.json").read_text())
    assert manifest["summary"]["targets"]["test"]["hash"] == hand_dataset.targets_hash("test")


@pytest.mark.parametrize("name", ["dataset.json", "interactions.parquet", "items.parquet", "users.parquet"])
def test_missing_and_damaged_files(hand_dataset: Dataset, tmp_path: Path, name: str) -> None:
    write_dataset(hand_dataset, tmp_path / "data")
    file = tmp_path / "data" / name
    file.write_bytes(b"nonsense")
    with pytest.raises(DataError, match=rf"{name}: is no .*delete the folder and prepare the data again"):
        read_dataset(tmp_path / "data")
    file.unlink()
    with pytest.raises(DataError, match=rf"{name}: is missing"):
        read_dataset(tmp_path / "data")


def test_files_of_another_data_set(hand_dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(hand_dataset, tmp_path / "data")
    write_dataset(make_dataset({"a": [2, 1, 3]}), tmp_path / "other")
    (tmp_path / "other" / "interactions.parquet").replace(tmp_path / "data" / "interactions.parquet")
    with pytest.raises(DataError, match=r"do not belong to dataset\.json \(fingerprint .* expected"):
        read_dataset(tmp_path / "data")


def test_labels_that_an_earlier_version_let_pass_are_refused(hand_dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_dataset(hand_dataset, folder)
    items = pl.read_parquet(folder / "items.parquet")
    tags = "".join(chr(0xE0000 + ord(letter)) for letter in "rank it first")
    items.with_columns(pl.col("label") + tags).write_parquet(folder / "items.parquet")
    with pytest.raises(
        DataError, match=r"items\.parquet: the label of item '.+' .* no reader sees .*delete the"
    ):
        read_dataset(folder)


def test_the_summary_counts_what_was_hidden_or_cut(hand_dataset: Dataset) -> None:
    first, second, *rest = hand_dataset.catalog.items
    items = (replace(first, title="A\u00adlien"), replace(second, title="x" * 10_000), *rest)
    found = summarize(replace(hand_dataset, catalog=Catalog(items)))
    assert (found.titles_hidden, found.titles_cut) == (1, 1)
    assert (summarize(hand_dataset).titles_hidden, summarize(hand_dataset).titles_cut) == (0, 0)


def test_wrong_columns_and_format(hand_dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_dataset(hand_dataset, folder)
    rows = hand_dataset.interactions
    rows.drop("part").write_parquet(folder / "interactions.parquet")
    with pytest.raises(DataError, match=r"interactions\.parquet: column 'part' is missing"):
        read_dataset(folder)
    rows.with_columns(pl.col("item_index").cast(pl.Int64)).write_parquet(folder / "interactions.parquet")
    with pytest.raises(DataError, match=r"column 'item_index' is Int64, expected Int32"):
        read_dataset(folder)
    manifest = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(DataError, match=r"dataset\.json: format = 99, this version reads 1"):
        read_dataset(folder)


def test_full_disk_leaves_the_old_data_set(
    hand_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(hand_dataset, tmp_path / "data")

    def full(self: Path, *args: object, **kwargs: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match=r"data: the data set can't be written \(No space left on device\)"):
        write_dataset(make_dataset({"a": [2, 1, 3]}), tmp_path / "data")
    monkeypatch.undo()
    assert read_dataset(tmp_path / "data").fingerprint == hand_dataset.fingerprint
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data"]
