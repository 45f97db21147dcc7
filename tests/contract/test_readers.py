"""One suite that every reader of a data source passes, one of your own included."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from reader_sources import FILES

from deeprec.config import DataConfig
from deeprec.data.prepare import READERS, prepare, read_raw
from deeprec.data.raw import RawData, check_raw
from deeprec.errors import ConfigError, DataError

OWN = "reader_of_mine:read"
SOURCES = {**FILES, OWN: {"plays.txt": "ann k\nann t\nbob k\n"}}
MODULE = """
import polars as pl
from deeprec.data.raw import RawData

def frame(path, **changes):
    plays = [line.split() for line in (path / "plays.txt").read_text().splitlines()]
    rows = {"user_id": [user for user, _ in plays], "item_id": [item for _, item in plays]} | changes
    return pl.DataFrame(rows)

ITEMS = pl.DataFrame({"item_id": ["k", "t"], "title": ["Kettle", "Toaster"]})
USERS = pl.DataFrame({"user_id": ["ann"], "age": [40]})

def read(path, config, rows=None, items=ITEMS, users=USERS):
    return RawData("plays", frame(path) if rows is None else rows, items, users, "plays.txt", "items")

def untitled(path, config): return read(path, config, items=ITEMS.drop("title"))
def no_frame(path, config): return read(path, config, items={"item_id": ["k"]})
def no_raw(path, config): return ITEMS
def dated(path, config): return read(path, config, frame(path).with_columns(timestamp=pl.date(2020, 1, 1)))
def worded(path, config): return read(path, config, frame(path).with_columns(rating=pl.lit("good")))
def twice(path, config): return read(path, config, items=pl.concat([ITEMS, ITEMS]))
def source_only(path): return 3
"""


@pytest.fixture(autouse=True)
def _mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "reader_of_mine.py").write_text(MODULE)


def write_source(name: str, folder: Path) -> DataConfig:
    folder.mkdir()
    for file, text in SOURCES[name if name in SOURCES else OWN].items():
        content = text.encode()
        (folder / file).write_bytes(gzip.compress(content) if file.endswith(".gz") else content)
    place = folder / "sales.csv" if name == "table" else folder
    return DataConfig(name=name, source=str(place), min_user_interactions=1, rl_targets=0)


@pytest.fixture(params=[name for name in SOURCES if name in READERS or name == OWN])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> DataConfig:
    return write_source(request.param, tmp_path / "source")


def test_every_reader_is_here() -> None:
    assert set(READERS.values()) == {READERS[name] for name in SOURCES if name in READERS}


def test_the_tables_have_what_is_promised(config: DataConfig) -> None:
    raw = read_raw(config, seed=0)
    assert isinstance(raw, RawData)
    assert raw.name
    found = dict(raw.interactions.schema)
    ids = (pl.String, pl.Categorical)
    assert {name: found[name] for name in ("line", "timestamp", "rating")} == {
        "line": pl.Int64, "timestamp": pl.Float64, "rating": pl.Float32,
    }  # fmt: skip
    assert all(isinstance(found[name], ids) or found[name] in ids for name in ("user_id", "item_id"))
    items = dict(raw.items.schema)
    assert (items["title"], items["categories"], items["year"]) == (pl.String, pl.List(pl.String), pl.Int32)
    assert set(raw.users.dtypes) == {pl.String}
    assert raw.interactions.height
    assert raw.interactions["line"].is_sorted()  # a line may hold several
    assert raw.rows_read == raw.interactions.height + sum(raw.left_out.values())
    assert str(raw.interactions_place)
    assert str(raw.items_place)
    check_raw(raw)


def test_the_same_source_gives_the_same_set(config: DataConfig) -> None:
    first, again = prepare(config, seed=0), prepare(config, seed=1)
    assert first.fingerprint == again.fingerprint
    assert first.catalog.n_items >= 2
    assert len(first.known_history(first.user_ids[0]).history) >= 1


def test_nothing_is_filtered_sorted_or_renamed_by_a_reader_of_ones_own(tmp_path: Path) -> None:
    raw = read_raw(write_source(OWN, tmp_path / "source"), seed=0)
    assert raw.interactions["line"].to_list() == [1, 2, 3]
    assert raw.interactions["timestamp"].null_count() == raw.items["year"].null_count() + 1 == 3
    assert raw.users.rows() == [("ann", "40")]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("untitled", DataError, "its items lack the column 'title'; they have item_id"),
        ("no_frame", ConfigError, "its items are a dict; give a polars.DataFrame"),
        ("no_raw", ConfigError, "gave a DataFrame; give a deeprec.data.raw.RawData"),
        (
            "dated",
            DataError,
            "its interactions: 'timestamp' is a Date; give numbers, such as seconds since 1970",
        ),
        ("worded", DataError, "its interactions: 'rating' is no Float32 .*good"),
        ("source_only", ConfigError, "can't be called with .path, config.: too many positional arguments"),
        ("absent", ConfigError, "module 'reader_of_mine' has no attribute 'absent'"),
    ],
)
def test_what_is_no_reader_is_said(tmp_path: Path, name: str, error: type[Exception], message: str) -> None:
    config = write_source(f"reader_of_mine:{name}", tmp_path / "source")
    with pytest.raises(error, match=f"data.name = 'reader_of_mine:{name}'.*{message}"):
        read_raw(config, seed=0)


def test_what_no_reader_may_let_pass_is_refused_for_ones_own_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="items line 3: item id 'k' is already on line 1"):
        prepare(write_source("reader_of_mine:twice", tmp_path / "source"), seed=0)


def test_an_unknown_name_tells_of_ones_own() -> None:
    with pytest.raises(
        DataError, match=r"unknown data set 'qwxz'.*or a reader of yours as package\.module:function"
    ):
        read_raw(DataConfig(name="qwxz"), seed=0)
