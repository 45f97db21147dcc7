"""One table in every way that people write it reads alike; what can't be read names file, line and remedy."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import zstandard

from deeprec.config import DataConfig
from deeprec.data.parsing import text as text_module
from deeprec.data.raw import RawData, check_raw
from deeprec.data.readers.table import read_own_tables
from deeprec.errors import ConfigError, DataError

NAMES = ["user_id", "item_id", "title", "rating", "timestamp"]
ROWS = [
    ["anna", "007", "Kettle, large", "4.5", "1580428800"],
    ["anna", "8", 'Pipe 12" "old"', "", "1580428801"],
    ["böb", "18446744073709551616", "坂本; 龍一|x", "1", "1580428802"],
    ["böb", "007", "Kettle, large", "3", "1580428803"],
]


def table(folder: Path, content: bytes, name: str = "rows.csv", **settings: object) -> RawData:
    """What is read of one file."""
    (folder / name).write_bytes(content)
    raw = read_own_tables(folder / name, DataConfig.model_validate({"name": "table", **settings}))
    check_raw(raw)
    return raw


def rows(raw: RawData) -> list[tuple[object, ...]]:
    titles = dict(raw.items.select("item_id", "title").rows())
    found = raw.interactions.select(
        pl.col("user_id", "item_id").cast(pl.String), "rating", "timestamp"
    ).rows()
    return [(user, item, titles[item], rating, time) for user, item, rating, time in found]


EXPECTED = [
    (user, item, title, float(rating) if rating else None, float(time))
    for user, item, title, rating, time in ROWS
]


def written(delimiter: str, quoting: int = csv.QUOTE_MINIMAL, end: str = "\n") -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([NAMES, *ROWS])
    return stream.getvalue()


PLAIN = written(",").encode()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_quotes_and_line_ends(tmp_path: Path, delimiter: str, quoting: int, end: str) -> None:
    assert rows(table(tmp_path, written(delimiter, quoting, end).encode())) == EXPECTED


@pytest.mark.parametrize("delimiter", ["\t", "::"])
def test_quotes_are_characters_between_tabs_and_colons(tmp_path: Path, delimiter: str) -> None:
    lines = "".join(delimiter.join(row) + "\n" for row in [NAMES, *ROWS])
    assert rows(table(tmp_path, lines.encode(), "rows.txt")) == EXPECTED


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"]
)
def test_encodings(tmp_path: Path, encoding: str) -> None:
    said = {"encoding": encoding} if encoding == "gb18030" else {}
    assert rows(table(tmp_path, written(",").encode(encoding), **said)) == EXPECTED


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("__MACOSX/._rows.csv", b"\x00\x05\x16\x07")
        archive.writestr("folder/.DS_Store", b"\x00")
        archive.writestr("folder/rows.csv", content)
    return stream.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "two gzips in a row": lambda content: gzip.compress(content[:60]) + gzip.compress(content[60:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstandard": zstandard.compress,
    "zip": zipped,
    "zip in gzip": lambda content: gzip.compress(zipped(content)),
}


@pytest.mark.parametrize("packing", list(PACKED))
@pytest.mark.parametrize("name", ["rows.csv", "rows", "rows.gz", "rows.dat.bak"])
def test_packing_shows_in_the_content_not_in_the_name(tmp_path: Path, packing: str, name: str) -> None:
    assert rows(table(tmp_path, PACKED[packing](PLAIN), name)) == EXPECTED


def as_frame() -> pl.DataFrame:
    columns = {name: [row[place] or None for row in ROWS] for place, name in enumerate(NAMES)}
    frame = pl.DataFrame(columns)
    return frame.with_columns(pl.col("rating").cast(pl.Float64), pl.col("timestamp").cast(pl.Int64))


def test_parquet_arrow_and_json(tmp_path: Path) -> None:
    frame = as_frame()
    frame.write_parquet(tmp_path / "rows.pq")
    frame.write_ipc(tmp_path / "rows.feather")
    lines = "".join(json.dumps(row) + "\n" for row in frame.to_dicts())
    for content in (
        (tmp_path / "rows.pq").read_bytes(),
        gzip.compress((tmp_path / "rows.pq").read_bytes()),
        (tmp_path / "rows.feather").read_bytes(),
        lines.encode(),
        lines.replace("\n", "\r\n\r\n").encode(),
        lines.encode("utf-16"),
        json.dumps(frame.to_dicts(), indent=1).encode(),
        "".join(f"{row!r}\n" for row in frame.to_dicts()).encode(),  # as Python writes it
    ):
        assert rows(table(tmp_path, content, "x")) == EXPECTED


def test_folders_of_parts(tmp_path: Path) -> None:
    head, *lines = PLAIN.decode().splitlines(keepends=True)
    spark = tmp_path / "rows.csv"
    spark.mkdir()
    for number, part in ((2, lines[:2]), (10, lines[2:])):
        (spark / f"part-{number}.csv").write_text(head + "".join(part))
        (spark / f".part-{number}.csv.crc").write_bytes(b"crc\x00")
    (spark / "part-11.csv").write_bytes(b"")  # Spark writes empty parts
    (spark / "part-12.csv").write_text(head)  # and such with a header alone
    (spark / "_SUCCESS").write_bytes(b"")
    config = DataConfig(name="table")
    raw = read_own_tables(spark, config)
    assert rows(raw) == EXPECTED
    assert [file.name for file in raw.files][:2] == ["part-2.csv", "part-10.csv"]
    (spark / "part-10.csv").write_text(head + "böb,1,A,2,x\n")
    with pytest.raises(DataError, match=r"part-10\.csv line 2: timestamp = 'x' is no number"):
        read_own_tables(spark, config)
    (spark / "part-10.csv").write_text("user_id,item_id,title\nböb,1,A\n")
    with pytest.raises(DataError, match=r"part-10\.csv: no column 'timestamp', which other files .* have"):
        read_own_tables(spark, config)


def test_columns_in_the_names_of_folders(tmp_path: Path) -> None:
    for user in ("ann", "bob"):
        folder = tmp_path / "out" / f"user_id={user}"
        folder.mkdir(parents=True)
        as_frame().drop("user_id").write_parquet(folder / "part-0.parquet")
    raw = read_own_tables(tmp_path / "out", DataConfig(name="table"))
    assert [user for user, *_ in rows(raw)] == ["ann"] * 4 + ["bob"] * 4


def test_archives_of_several_tables_are_named_by_path(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "shop.zip", "w") as archive:
        archive.writestr("shop/orders.csv", "user_id,item_id\nu,1\nu,2\n")
        archive.writestr("shop/products.csv", "item_id,title\n1,A\n2,B\n")
    with pytest.raises(DataError, match=r"several tables \(shop/orders\.csv, shop/products\.csv\); name one"):
        read_own_tables(tmp_path / "shop.zip", DataConfig(name="table"))
    items = str(tmp_path / "shop.zip" / "shop" / "products.csv")
    raw = read_own_tables(tmp_path / "shop.zip" / "orders.csv", DataConfig(name="table", items=items))
    assert [row[:3] for row in rows(raw)] == [("u", "1", "A"), ("u", "2", "B")]


def test_excels_line_for_the_delimiter_and_empty_rows(tmp_path: Path) -> None:
    raw = table(tmp_path, b"sep=;\r\nuser_id;item_id;title;rating\r\nu;1;A, B;4,5\r\n;;;\r\n\r\nu;2;C;3\r\n")
    assert [row[:4] for row in rows(raw)] == [("u", "1", "A, B", 4.5), ("u", "2", "C", 3.0)]
    assert raw.interactions["line"].to_list() == [3, 6]
    assert any("2 blank lines skipped" in note for note in raw.notes)


def test_spaces_behind_commas_and_an_index_of_pandas(tmp_path: Path) -> None:
    raw = table(tmp_path, b'user_id, item_id, title\nu, 1, "A, B"\nu, 2, C\n')
    assert [row[:3] for row in rows(raw)] == [("u", "1", "A, B"), ("u", "2", "C")]
    raw = table(tmp_path, b",user_id,item_id,title\n0,u,1,A\n1,u,2,B\n")
    assert [row[:3] for row in rows(raw)] == [("u", "1", "A"), ("u", "2", "B")]


def test_spaces_alone_between_cells(tmp_path: Path) -> None:
    raw = table(tmp_path, b"user_id item_id title categories\nu 1 Up Drama|War\nu 2 Alien War|Space\n")
    assert [row[:3] for row in rows(raw)] == [("u", "1", "Up"), ("u", "2", "Alien")]
    assert raw.items["categories"].to_list() == [["Drama", "War"], ["War", "Space"]]


def test_a_column_of_times_without_one(tmp_path: Path) -> None:
    raw = table(tmp_path, b"user_id,item_id,title,timestamp\nu,1,A,\nu,2,B,NaN\n")
    assert "column 'timestamp' holds no times: the order of the rows is the order in time" in raw.notes


def test_backslashes_before_quotes(tmp_path: Path) -> None:
    raw = table(tmp_path, b'user_id,item_id,title\nu,1,"say \\"hi\\", you"\nu,2,"C:\\\\"\n')
    assert [row[2] for row in rows(raw)] == ['say "hi", you', "C:\\"]


def test_files_without_a_header(tmp_path: Path) -> None:
    content = b"1\t1193\t5\t978300760\n1\t661\t3\t978302109\n"
    with pytest.raises(DataError, match=r"looks like a row: .*data\.header = \[\"user_id\", \.\.\.\]"):
        table(tmp_path, content)
    items = tmp_path / "items.csv"
    items.write_bytes(b"661|James\n1193|Cuckoo\n")
    with pytest.raises(DataError, match=r"items\.csv: no column 'item_id'.*data\.item_header"):
        table(tmp_path, content, header=("user_id", "item_id", "rating", "timestamp"), items=str(items))
    raw = table(
        tmp_path,
        content,
        header=("user_id", "item_id", "rating", "timestamp"),
        items=str(items),
        item_header=("item_id", "title"),
    )
    assert [row[2] for row in rows(raw)] == ["Cuckoo", "James"]
    assert raw.interactions["line"].to_list() == [1, 2]


def test_halves_of_surrogate_pairs(tmp_path: Path) -> None:
    bad, whole = b"\xed\xa0\xbd", b"\xed\xa0\xbd\xed\xb8\x80"
    raw = table(tmp_path, b"user_id,item_id,title\nu,1,a" + bad + b"\nu,2," + whole + b"\n")
    assert [row[2] for row in rows(raw)] == ["a\ufffd", "\U0001f600"]
    escaped = ("a\\ud83d", "\\ud83d\\ude00")
    lines = "".join(
        f'{{"user_id": "u", "item_id": {n}, "title": "{title}"}}\n' for n, title in enumerate(escaped, 1)
    )
    assert [row[2] for row in rows(table(tmp_path, lines.encode()))] == ["a\ufffd", "\U0001f600"]
    half = "user_id,item_id,title\nu,1,a".encode("utf-16-le") + b"\x3d\xd8" + "\nu,2,b\n".encode("utf-16-le")
    assert [row[2] for row in rows(table(tmp_path, half))] == ["a\ufffd", "b"]


@pytest.mark.parametrize("blocks", [16, 50, 1 << 24])
def test_line_numbers_do_not_depend_on_how_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    monkeypatch.setattr(text_module, "_BLOCK", blocks)
    lines = ['u,1,"Two\nlines",1', "u,2,B,2", "", 'u,3,"a ""b""\n\nc",3', "u,4,D,4"]
    content = "user_id,item_id,title,timestamp\n" + "\n".join(lines) + "\n"
    for text in (content, content.replace("\n", "\r\n")):
        raw = table(tmp_path, text.encode())
        assert raw.interactions["line"].to_list() == [2, 4, 6, 9]
        assert [row[1] for row in rows(raw)] == ["1", "2", "3", "4"]
        with pytest.raises(DataError, match=r"rows\.csv line 10: timestamp = 'oops' is no number"):
            table(tmp_path, (text + "u,5,E,oops\n").encode())
        with pytest.raises(
            DataError, match=r"rows\.csv line 10: 3 fields in 'u,5,E', expected 4 separated by ','"
        ):
            table(tmp_path, (text + "u,5,E\n").encode())


HEAD = "user_id,item_id,title,timestamp\n"
MANY = "".join(f"u{n},{n},T{n},{n}\n" for n in range(300))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + MANY + "u,1,Lion, Witch,5\n", r"line 302: 5 fields in 'u,1,Lion, Witch,5', expected 4"),
        (
            HEAD + MANY + "u,1,5\n",
            r"line 302: 3 fields in 'u,1,5', expected 4 .*\(user_id, item_id, title, time",
        ),
        (HEAD + MANY.replace("T9,", '"T9,') + 'u,1,"x",5\n', r"line 302: text .*data\.quoting='literal'"),
        (HEAD + 'u,1,"x",5\nu,1,"a" b,5\n', r"line 3: text stands behind a closing quote; double the quotes"),
        (HEAD + 'u,1,"x",5\nu,2,"never closed,5\n' + MANY, r"line 3: .*quote"),
        ("", r"is empty; expected a line of column names"),
        ("\n\n", r"is empty; expected a line of column names"),
        (HEAD, r"no interactions; name a file with at least one row"),
        ("user_id,user_id,title\nu,1,T\n", r"line 1: column 'user_id' appears twice; rename one of them"),
        (HEAD + "u,1,T\x00,5\n", r"line 2: holds zero bytes"),
        ("user_id;item_id;title\nu;1;T\n" + "u;2;\xff\n", r"ok"),
        ("PK\x03\x04 no archive", r"can't be read"),
        ("<!DOCTYPE html><html>", r"is a web page; download the file that it links to"),
        ("version https://git-lfs.github.com/spec/v1\n", r"Git LFS pointer; fetch the file itself"),
        ('{"user_id": "u", "item_id": 1\n', r"line 1: .* is no JSON object; write one object a line"),
        ('{"user_id": "u", "item_id": "1", "title": "T"}\n[1]\n', r"line 2: b'\[1\]' is no JSON object"),
        ('[{"user_id": "u"}, 3]', r"entry 2: '3' is no JSON object"),
        ("user_id item_id title\n", r"no interactions"),
        ("just text\n", r"no column 'item_id'; the file has: just, text"),
    ],
)
def test_what_can_not_be_read(tmp_path: Path, content: str, message: str) -> None:
    if message == "ok":
        assert [row[2] for row in rows(table(tmp_path, content.encode("latin-1"), encoding="latin-1"))] == [
            "T",
            "\xff",
        ]
        return
    with pytest.raises(DataError, match=r"rows\.csv.*" + message):
        table(tmp_path, content.encode("latin-1"))


def test_literal_quotes_in_a_comma_file_are_read_where_no_cell_is_quoted(tmp_path: Path) -> None:
    """A stray quote at the start of a cell would swallow the rows behind it."""
    content = HEAD + 'u,1,"Heroes,1\nu,2,B,2\nu,3,Single 12",3\n'
    assert [row[2] for row in rows(table(tmp_path, content.encode()))] == ['"Heroes', "B", 'Single 12"']


def test_encodings_that_are_wrong_or_unknown(tmp_path: Path) -> None:
    content = "user_id,item_id,title\nu,1,A\nu,2,Café\n".encode("latin-1")
    with pytest.raises(
        DataError, match=r"line 3: bytes b'\\xe9.*' are not utf-8; .*data\.encoding, e\.g\. latin-1"
    ):
        table(tmp_path, content)
    assert rows(table(tmp_path, content, encoding="latin-1"))[1][2] == "Café"
    for name in ("utf-9", "rot13", "base64", "idna"):
        with pytest.raises(ConfigError, match=rf"data\.encoding = '{name}': unknown"):
            table(tmp_path, content, encoding=name)


@pytest.mark.parametrize(
    ("magic", "remedy"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "old Excel workbook; save it as CSV"),
        (b"SQLite format 3\x00", "SQLite database; export its table"),
        (b"\x80\x04\x95", "Python pickle, which is not read since it can run code"),
        (b"7z\xbc\xaf\x27\x1c", "7z archive; unpack it"),
        (b"x" * 257 + b"ustar\x00", "tar archive; unpack it"),
    ],
)
def test_what_is_no_table_says_what_it_is(tmp_path: Path, magic: bytes, remedy: str) -> None:
    for content in (magic + b"\x00" * 400, gzip.compress(magic + b"\x00" * 400)):
        with pytest.raises(DataError, match=rf"rows\.csv: is an? .*{remedy}"):
            table(tmp_path, content)


def test_damaged_packing_names_the_file(tmp_path: Path) -> None:
    for pack in PACKED.values():
        whole = pack(PLAIN * 50)
        with pytest.raises(DataError, match=r"rows\.csv"):
            table(tmp_path, whole[: len(whole) // 2])
