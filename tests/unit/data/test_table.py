"""The user's own tables: CSV, TSV, Parquet, column mapping, dates."""

from __future__ import annotations

import gzip
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from deeprec_data_files import write_folder, write_zip

from deeprec.config import DataConfig
from deeprec.data.prepare import prepare
from deeprec.errors import DataError

ROWS = "customer,sku,when,stars\nann,1,2024-05-31,4\nann,2,2024-05-30,\nbob,2,2024-05-31T10:00:00Z,1\n"
ITEMS = 'sku,name,kinds,published\n1,"Tea, green",Drinks/Tea,2001\n2,"Two ""quoted""",,\n'
COLUMNS = {"user_id": "customer", "item_id": "sku", "timestamp": "when", "rating": "stars"}
COLUMNS |= {"title": "name", "categories": "kinds", "year": "published"}


def config(folder: Path, **more: object) -> DataConfig:
    values = {
        "name": "table",
        "source": str(folder / "rows.csv"),
        "items": str(folder / "items.csv"),
        "columns": COLUMNS,
        "category_separator": "/",
        "min_user_interactions": 1,
    }
    return DataConfig.model_validate({**values, **more})


def test_csv_with_mapping_dates_and_quotes(tmp_path: Path) -> None:
    write_folder(
        tmp_path, {"rows.csv": ROWS, "items.csv": ITEMS, "users.csv": "customer,city\nann,Ulm\nzoe,Bonn\n"}
    )
    dataset = prepare(config(tmp_path, users=str(tmp_path / "users.csv")), seed=0)
    assert dataset.name == "table:rows"
    assert [item.label for item in dataset.catalog.items] == ["Tea, green", 'Two "quoted"']
    assert dataset.catalog[1].categories == ("Drinks", "Tea")
    assert (dataset.catalog[1].year, dataset.catalog[2].year) == (2001, None)
    ann = dataset.known_history("ann")
    assert ann.history == (2, 1)
    assert ann.timestamps == (1717027200.0, 1717113600.0)  # 2024-05-30 and -31, midnight UTC
    assert ann.ratings == ()  # one is missing
    assert ann.profile == {"city": "Ulm"}
    assert dataset.known_history("bob").timestamps == (1717149600.0,)
    assert dataset.users["user_id"].to_list() == ["ann"]


def test_parquet_with_datetimes_and_lists(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {"user_id": [5, 5], "item_id": [1, 2], "timestamp": [datetime(2024, 5, 31), datetime(2024, 5, 30)]}
    )
    rows.write_parquet(tmp_path / "rows.parquet")
    items = pl.DataFrame({"item_id": [1, 2], "title": ["A", "B (1999)"], "categories": [["x", "y"], []]})
    items.write_parquet(tmp_path / "items.parquet")
    more = {"source": str(tmp_path / "rows.parquet"), "items": str(tmp_path / "items.parquet"), "columns": {}}
    dataset = prepare(config(tmp_path, **more), seed=0)
    assert dataset.known_history("5").history == (2, 1)
    assert dataset.known_history("5").timestamps == (1717027200.0, 1717113600.0)
    assert dataset.catalog[1].categories == ("x", "y")
    assert dataset.catalog[2].year == 1999


def test_items_inside_the_interactions_and_no_times(tmp_path: Path) -> None:
    rows = "user_id\titem_id\ttitle\nu\tb\tBee\nu\ta\tAnt\nv\tb\tBee again\n"
    (tmp_path / "rows.tsv.gz").write_bytes(gzip.compress(rows.encode()))
    dataset = prepare(config(tmp_path, source=str(tmp_path / "rows.tsv.gz"), items=None, columns={}), seed=0)
    assert [item.title for item in dataset.catalog.items] == ["Bee", "Ant"]
    assert dataset.known_history("u").history == (1, 2)  # without times, in the file's order
    assert dataset.known_history("u").timestamps == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows.csv": ROWS.replace("sku", "skuu")}, r"rows\.csv: no column 'sku'; did you mean 'skuu'\?"),
        (
            {"rows.csv": ROWS.replace("2024-05-30", "yesterday")},
            r"rows\.csv line 3: timestamp = 'yesterday' is no ISO",
        ),
        ({"rows.csv": ROWS.replace(",4\n", ",lots\n")}, r"rows\.csv line 2: rating = 'lots' is not a number"),
        ({"rows.csv": ROWS + "bob,1,,3\n"}, r"rows\.csv line 5: user 'bob' has no timestamp"),
        ({"rows.csv": ROWS + ",1,2024-05-31,3\n"}, r"rows\.csv line 5: empty user_id"),
        (
            {"rows.csv": ROWS + "a,b,c,d,e,f\n"},
            r"line 5: 6 fields in 'a,b,c,d,e,f', expected 4 separated by ','",
        ),
        ({"rows.csv": ""}, r"rows\.csv: is empty"),
        ({"rows.csv": ROWS.replace("stars", "when")}, r"rows\.csv line 1: column 'when' appears twice"),
        (
            {"rows.csv": ROWS.replace("2024-05-31,", "05/31/2024,", 1)},
            r"line 2: timestamp = '05/31/2024' is no ISO",
        ),
        ({"items.csv": "sku,name,kinds,published\n"}, r"items\.csv: the catalogue is empty"),
        ({"items.csv": "sku,name,kinds,published\n1,,,\n2,,,\n"}, r"items\.csv: no item has a title"),
        ({"items.csv": ITEMS + "2,Again,,\n"}, r"items\.csv line 4: item id '2' is already on line 3"),
        ({"items.csv": ITEMS.replace("Tea, green", "Th\xe9")}, r"items\.csv line 2: bytes .* are not utf-8"),
    ],
)
def test_errors_name_place_and_remedy(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    write_folder(tmp_path, {"rows.csv": ROWS, "items.csv": ITEMS, **changes})
    with pytest.raises(DataError, match=message):
        prepare(config(tmp_path), seed=0)


def test_nan_infinite_and_negative_times(tmp_path: Path) -> None:
    write_folder(tmp_path, {"items.csv": ITEMS})
    for value, message in (
        (float("nan"), "user 'a' has no timestamp"),
        (float("inf"), "timestamp inf is not a finite number"),
        (-1.0, "timestamp -1 is negative"),
    ):
        frame = pl.DataFrame(
            {"customer": ["a", "a"], "sku": ["1", "2"], "when": [1.0, value], "stars": [1, 2]}
        )
        frame.write_parquet(tmp_path / "rows.parquet")
        with pytest.raises(DataError, match=rf"rows\.parquet line 2: {message}"):
            prepare(config(tmp_path, source=str(tmp_path / "rows.parquet")), seed=0)


def test_zones_and_nested_columns(tmp_path: Path) -> None:
    rows = ROWS.replace("2024-05-30", "2024-05-31T01:30:00.5+02:00").replace(
        "2024-05-31,4", "2024-05-31T01:00:00-01:00,4"
    )
    write_folder(tmp_path, {"rows.csv": rows, "items.csv": ITEMS})
    assert prepare(config(tmp_path), seed=0).known_history("ann").timestamps == (1717111800.5, 1717120800.0)
    pl.DataFrame({"customer": [["a"]], "sku": ["1"]}).write_parquet(tmp_path / "rows.parquet")
    mapping = {**COLUMNS, "timestamp": "sku", "rating": "sku"}
    with pytest.raises(
        DataError, match=r"rows\.parquet: column user_id is List\(String\), expected text or numbers"
    ):
        prepare(config(tmp_path, source=str(tmp_path / "rows.parquet"), columns=mapping), seed=0)


def test_unknown_mapping_kind_of_file_and_filters(tmp_path: Path) -> None:
    write_folder(tmp_path, {"rows.csv": ROWS, "items.csv": ITEMS})
    write_zip(tmp_path / "rows.xlsx", {"xl/workbook.xml": "x"})
    with pytest.raises(DataError, match=r"data\.columns: unknown column 'titel'; did you mean 'title'\?"):
        prepare(config(tmp_path, columns={"titel": "name"}), seed=0)
    with pytest.raises(DataError, match=r"rows\.xlsx: is a workbook; save the sheet as CSV"):
        prepare(config(tmp_path, source=str(tmp_path / "rows.xlsx")), seed=0)
    with pytest.raises(
        DataError,
        match=r"no interaction is left .*longest history has 2\); lower data\.min_user_interactions \(9\)",
    ):
        prepare(config(tmp_path, min_user_interactions=9), seed=0)
    with pytest.raises(DataError, match=r"unknown data set 'mll-1m'; .*did you mean 'ml-1m'\?"):
        prepare(config(tmp_path, name="mll-1m"), seed=0)
