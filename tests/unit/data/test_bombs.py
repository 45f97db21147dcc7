"""Small files that unpack to enormous ones are refused, at little cost."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard

from deeprec.config import DataConfig
from deeprec.data import files
from deeprec.data.parsing import bombs
from deeprec.data.parsing.bombs import FREE, capped
from deeprec.data.readers.table import read_own_tables
from deeprec.errors import DataError

HEAD = b"user_id,item_id,title,timestamp\n"
ROW = b"u1,i1,Alien,1000\n"


def rows(count: int) -> bytes:
    return HEAD + ROW * count


def _zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("inner.csv", content)
    return file.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda content: gzip.compress(content, 9),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda content: zstandard.ZstdCompressor(level=19).compress(content),
    "zip": _zip,
}


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bombs, "FREE", 2**20)  # so that a test need not unpack 64 MiB


@pytest.mark.parametrize("packed", PACKERS)
def test_a_bomb_is_refused_and_a_table_is_not(tmp_path: Path, packed: str) -> None:
    file = tmp_path / f"a.csv.{packed}"
    file.write_bytes(PACKERS[packed](rows(400_000)))  # 4.4 MB in a few hundred bytes to some KB
    with pytest.raises(DataError, match=r"a\.csv.*bytes unpack to more than .* unpack it by hand"):
        read(file)
    file.write_bytes(PACKERS[packed](rows(2000)))
    assert read(file) == 2000


def test_layers_count_together(tmp_path: Path) -> None:
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(bz2.compress(rows(400_000)), 9))
    with pytest.raises(DataError, match="unpack to more than"):
        read(file)


@pytest.mark.parametrize("inner", ["interactions.csv", "interactions.csv.gz"])
def test_a_bomb_among_others_in_an_archive(tmp_path: Path, inner: str) -> None:
    content = rows(400_000)
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("items.csv", "item_id,title\ni1,Alien\n")
        archive.writestr(inner, gzip.compress(content, 9) if inner.endswith(".gz") else content)
    with pytest.raises(DataError, match="unpack to more than"):
        read(tmp_path / "set.zip" / inner)


def test_an_archive_that_lies_about_its_sizes_is_refused_all_the_same(tmp_path: Path) -> None:
    packed = bytearray(_zip(rows(400_000)))
    entry = packed.find(b"PK\1\2")  # of the list of files: packed size, then unpacked
    struct.pack_into("<II", packed, entry + 20, 2**31, 2**31)
    (tmp_path / "a.zip").write_bytes(packed)
    with pytest.raises(DataError, match=r"unpack to more than|can't be read \(EOFError\)"):
        read(tmp_path / "a.zip")


def test_a_columnar_file_that_promises_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bombs, "_FREE_ROWS", 1000)
    frame = pl.DataFrame({name: ["x"] * 400_000 for name in ("user_id", "item_id", "title")})
    for name, write in (("a.parquet", frame.write_parquet), ("a.arrow", frame.write_ipc)):
        write(tmp_path / name, compression="zstd")
        with pytest.raises(DataError, match=rf"{name}: promises 400,000 rows in [\d,]+ bytes"):
            read(tmp_path / name)
    frame.head(900).write_parquet(tmp_path / "b.parquet")
    assert read(tmp_path / "b.parquet") == 900


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical, pl.Enum])
def test_a_long_text_in_every_row_of_a_columnar_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """It is kept once, however many rows show it: a few KB of file were gigabytes of titles."""
    monkeypatch.setattr(bombs, "RATIO", 1)  # categories of an Enum stand in the file as they are
    text = "x" * 2**18
    made = pl.Enum([text]) if kind is pl.Enum else kind
    frame = pl.DataFrame({"user_id": ["u1"] * 50, "item_id": ["i1"] * 50, "title": [text] * 50})
    frame = frame.with_columns(pl.col("title").cast(made))
    for name, write in (("a.parquet", frame.write_parquet), ("a.arrow", frame.write_ipc)):
        write(tmp_path / name, compression="zstd")
        monkeypatch.setattr(bombs, "_FREE_CELLS", 2**23)
        with pytest.raises(DataError, match=rf"{name}: [\d,]+ bytes hold cells of 13,\d+,\d+, as no table"):
            read(tmp_path / name)
        monkeypatch.setattr(bombs, "_FREE_CELLS", 2**24)
        assert read(tmp_path / name) == 50


def test_no_more_is_unpacked_than_is_allowed() -> None:
    stream = capped(io.BytesIO(bytes(3 * 2**20)), 100, "x")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="100 bytes unpack to more than 1,048,576"):
        stream.read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < FREE / 1024


def read(path: Path) -> int:
    """Rows of the table at `path`."""
    return read_own_tables(path, DataConfig.model_validate({"name": "table"})).interactions.height


def test_an_archive_of_many_parts_is_opened_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list of files is read whenever it is opened: once a part would be hours for thousands of them."""
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(50):
            archive.writestr(f"./part-{number}.csv", rows(2))
    opened: list[object] = []

    class Counted(zipfile.ZipFile):
        def __init__(self, *given: Any) -> None:
            opened.append(given)
            super().__init__(*given)

    monkeypatch.setattr(zipfile, "ZipFile", Counted)
    assert read(file) == 100
    assert len(opened) < 10
    monkeypatch.setattr(files, "_MOST_FILES", 49)
    with pytest.raises(DataError, match="holds more than 49 files; unpack it"):
        read(file)
