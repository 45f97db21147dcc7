"""More of what people name with `--source`: packed, typed, in parts, called otherwise; each with the right value."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard

from deeprec.config import DataConfig, load_config
from deeprec.data.inspection import inspect_source
from deeprec.data.raw import RawData, check_raw
from deeprec.data.readers.table import read_own_tables
from deeprec.errors import DataError

START = 1_580_428_800  # 2020-01-31
NAMES = ("user_id", "item_id", "timestamp", "rating", "title", "categories")
ROWS = [
    (
        f"u{user}",
        f"i{(user + place) % 4}",
        START + place,
        place + 1,
        f"Film {(user + place) % 4}",
        "Drama|War",
    )
    for user in range(3)
    for place in range(3)
]


def read(source: Path, /, **settings: Any) -> RawData:
    raw = read_own_tables(source, DataConfig.model_validate({"name": "table", **settings}))
    check_raw(raw)
    return raw


def written(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


def text(rows: Sequence[Sequence[object]] = ROWS, names: Sequence[str] = NAMES, mark: str = ",") -> str:
    return "".join(mark.join(map(str, row)) + "\n" for row in (names, *rows))


def objects(**changed: object) -> str:
    return "".join(json.dumps({**dict(zip(NAMES, row, strict=True)), **changed}) + "\n" for row in ROWS)


def frame(rows: Sequence[Sequence[object]] = ROWS) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=list(NAMES), orient="row")


def stored(rows: pl.DataFrame, kind: str = "parquet") -> bytes:
    stream = io.BytesIO()
    getattr(rows, f"write_{kind}")(stream)
    return stream.getvalue()


def is_whole(raw: RawData) -> None:
    """Every row is there, with its time."""
    found = raw.interactions.select(pl.col("user_id", "item_id").cast(pl.String), "timestamp").rows()
    assert found == [(user, item, float(time)) for user, item, time, *_ in ROWS]


PLAIN = text().encode()
FRAME = zstandard.ZstdCompressor().compress(PLAIN)
SKIPPED = b"\x5e\x2a\x4d\x18\x04\x00\x00\x00abcd"  # what writers that work in parallel begin with


@pytest.mark.parametrize(
    "content",
    [
        SKIPPED + FRAME,
        zstandard.ZstdCompressor().compress(PLAIN[:60])
        + SKIPPED
        + zstandard.ZstdCompressor().compress(PLAIN[60:]),
        gzip.compress(gzip.compress(PLAIN)),
        gzip.compress(PLAIN[:60]) + gzip.compress(PLAIN[60:]),
    ],
    ids=["skipped-frame", "several-frames", "twice", "several-members"],
)
def test_packed_in_pieces(tmp_path: Path, content: bytes) -> None:
    is_whole(read(written(tmp_path, content)))


@pytest.mark.parametrize(
    "pack",
    [zstandard.ZstdCompressor().compress, gzip.compress, bz2.compress, lzma.compress],
    ids=["zst", "gzip", "bz2", "xz"],
)
def test_a_file_that_was_cut_off_is_never_a_shorter_one(tmp_path: Path, pack: Any) -> None:
    content = pack(text(ROWS * 50).encode())
    for length in (len(content) - 9, len(content) // 2):
        with pytest.raises(DataError, match=r"rows\.csv.*: can't be read"):
            read(written(tmp_path, content[:length]))


def test_an_archive_in_an_archive(tmp_path: Path) -> None:
    inner, outer = io.BytesIO(), io.BytesIO()
    for stream, name, content in ((inner, "rows.csv", PLAIN), (outer, "inner.zip", b"")):
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(name, content or inner.getvalue())
            archive.writestr("__MACOSX/._x", b"\0")
    is_whole(read(written(tmp_path, outer.getvalue(), "a.zip")))


@pytest.mark.parametrize("name", ["part[1].{}", "a*b?.{}", "ü #1 %20.{}", "day=2020-01-01.{}"])
@pytest.mark.parametrize("kind", ["parquet", "ipc", "ipc_stream", "csv"])
def test_signs_in_names_of_files_are_no_patterns(tmp_path: Path, name: str, kind: str) -> None:
    content = PLAIN if kind == "csv" else stored(frame(), kind)
    is_whole(read(written(tmp_path / "a[b]", content, name.format(kind))))


def test_a_column_that_is_called_line(tmp_path: Path) -> None:
    rows = [(*row[:4], f"L{row[1]}", row[5]) for row in ROWS]
    for content in (
        text(rows, (*NAMES[:4], "line", "categories")),
        "".join(
            json.dumps(dict(zip((*NAMES[:4], "line", "categories"), row, strict=True))) + "\n" for row in rows
        ),
        stored(frame(rows).rename({"title": "line"})),
    ):
        raw = read(written(tmp_path, content), columns={"title": "line_"})
        is_whole(raw)
        assert raw.items["title"].to_list()[:2] == ["Li0", "Li1"]


TOKYO = pl.from_epoch(pl.Series([row[2] for row in ROWS])).dt.replace_time_zone("UTC")
TOKYO = TOKYO.dt.convert_time_zone("Asia/Tokyo")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("user_id", pl.Series([row[0] for row in ROWS], dtype=pl.Categorical)),
        ("item_id", pl.Series([row[1] for row in ROWS], dtype=pl.Enum(["i0", "i1", "i2", "i3"]))),
        ("rating", pl.Series([str(row[3]) for row in ROWS], dtype=pl.Categorical)),
        ("rating", pl.Series([None] * len(ROWS), dtype=pl.Null)),
        ("timestamp", pl.Series([str(row[2]) for row in ROWS], dtype=pl.Categorical)),
        ("timestamp", pl.Series([row[2] * 10**9 for row in ROWS], dtype=pl.UInt64)),
        ("timestamp", pl.Series([row[2] for row in ROWS]).cast(pl.Decimal(20, 3))),
        ("timestamp", TOKYO),
        ("categories", pl.Series([None] * len(ROWS), dtype=pl.Null)),
        ("categories", pl.Series([["Drama", None]] * len(ROWS))),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)  # fmt: skip
@pytest.mark.parametrize("kind", ["parquet", "ipc", "ipc_stream"])
def test_columns_of_many_types(tmp_path: Path, column: str, values: pl.Series, kind: str) -> None:
    content = stored(frame().with_columns(values.alias(column)), kind)
    is_whole(read(written(tmp_path, content, "rows.bin")))


def test_empty_parts_and_parts_without_a_value_in_a_column(tmp_path: Path) -> None:
    first, second = ROWS[:5], ROWS[5:]
    header = ",".join(NAMES) + "\n"
    empty = {"_SUCCESS": b"", ".part-0.csv.crc": b"crc", "_committed": b"{}"}
    for files in (
        {"part-0.csv.gz": gzip.compress(b""), "part-1.csv.gz": gzip.compress(PLAIN)},
        {"part-0.csv": b"", "part-1.csv": text(first).encode(), "part-10.csv": text(second).encode()},
        {
            "part-0.csv": header.encode(),
            "part-1.csv": text(first).encode(),
            "part-2.csv": text(second, mark=";").encode(),
        },
        {
            "part-0.parquet": stored(frame(first).with_columns(pl.lit(None).alias("categories"))),
            "part-1.parquet": stored(frame(second).with_columns(pl.col("categories").str.split("|"))),
        },
        {"part-0.parquet": stored(frame(first)), "part-1.parquet": stored(frame(second).select(reversed(NAMES)))},
    ):  # fmt: skip
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, content in {**empty, **files}.items():
            written(folder, content, name)
        is_whole(read(folder))
        assert inspect_source(folder).problem == ""


def test_parts_whose_columns_do_not_fit_each_other(tmp_path: Path) -> None:
    written(tmp_path, stored(frame(ROWS[:5])), "part-0.parquet")
    written(
        tmp_path, stored(frame(ROWS[5:]).with_columns(pl.col("categories").str.split("|"))), "part-1.parquet"
    )
    with pytest.raises(
        DataError, match=r"column categories is List\(String\) and String in files of one table"
    ):
        read(tmp_path)


def test_columns_in_names_of_folders_are_written_as_in_a_url(tmp_path: Path) -> None:
    for place, row in enumerate(ROWS):
        folder = (
            tmp_path / f"time=2020-01-31 00%3A00%3A0{row[2] - START}" / "title=__HIVE_DEFAULT_PARTITION__"
        )
        written(
            folder,
            text([(row[0], row[1], "A", row[3])], ("user_id", "item_id", "name", "rating")),
            f"part-{place}.csv",
        )
    raw = read(tmp_path, columns={"timestamp": "time", "title": "name"})
    assert sorted(raw.interactions["timestamp"]) == sorted(float(row[2]) for row in ROWS)
    (view,) = inspect_source(tmp_path).tables
    assert {column.name: column.holds for column in view.columns}["time"].startswith("dates such as 2024")


def test_two_files_of_interactions_are_not_one_of_them(tmp_path: Path) -> None:
    for name in ("january.csv", "february.csv"):
        written(tmp_path, text(), name)
    with pytest.raises(
        DataError, match=r"february\.csv and january\.csv both look like interactions; .*part-1"
    ):
        inspect_source(tmp_path)


COLUMNS = {
    "German": (
        "Kundennummer",
        "Artikelnummer",
        "Bestellzeitpunkt",
        "Bewertung",
        "Bezeichnung",
        "Warengruppe",
    ),
    "French": ("Utilisateur", "Produit", "Date d'achat", "Note", "Titre", "Catégorie"),
    "Spanish": ("ID Usuario", "ID Producto", "Fecha", "Puntuación", "Título", "Categoría"),
    "Italian": ("Utente", "Prodotto", "Data", "Voto", "Titolo", "Categoria"),
    "Russian": ("Пользователь", "Товар", "Дата", "Оценка", "Название", "Категория"),
    "Chinese": ("用户编号", "商品ID", "时间", "评分", "商品名称", "类别"),
    "Japanese": ("ユーザーID", "商品ID", "日時", "評価", "タイトル", "カテゴリ"),
    "spaces": (" User ID", "Item ID ", "Order Date", "Star Rating", "Product Title", "Product Category"),
    "short": ("uid", "iid", "ts", "stars", "title", "genre"),
    "capitals": tuple(name.upper() for name in NAMES),
}


@pytest.mark.parametrize("names", COLUMNS.values(), ids=COLUMNS)
def test_columns_in_other_words_are_guessed(tmp_path: Path, names: tuple[str, ...]) -> None:
    found = inspect_source(written(tmp_path, text(names=names)))
    assert found.problem == ""
    settings = written(tmp_path, found.toml, "shop.toml")
    config = load_config(file=settings).data
    assert config.source is not None
    raw = read(Path(config.source), **found.settings)
    is_whole(raw)
    assert raw.interactions["rating"].to_list() == [float(row[3]) for row in ROWS]
    assert raw.items.select("title", "categories").row(0) == ("Film 0", ["Drama", "War"])


def test_a_plain_id_is_that_of_the_file(tmp_path: Path) -> None:
    orders = written(tmp_path, text([row[:4] for row in ROWS], ("id", "user", "sku", "when")), "orders.csv")
    products = written(tmp_path, "id,name\ni0,A\n", "products.csv")
    columns = {view.role: dict(view.settings) for view in inspect_source(orders, products).tables}
    assert columns["items"]["item_columns"] == {"item_id": "id", "title": "name"}
    assert columns["interactions"]["columns"]["item_id"] == "sku"


def _dates(form: str) -> list[tuple[object, ...]]:
    return [(*row[:2], f'"{datetime.fromtimestamp(row[2], UTC).strftime(form)}"', *row[3:]) for row in ROWS]


@pytest.mark.parametrize(
    "form", ["%d %b %Y %H:%M:%S", "%B %d, %Y at %I:%M:%S %p", "%a %b %d %H:%M:%S +0000 %Y"]
)
def test_dates_with_names_of_months(tmp_path: Path, form: str) -> None:
    is_whole(read(written(tmp_path, text(_dates(form)))))


SAID: Mapping[str, tuple[str, list[str]]] = {
    "postgres": ('{Drama,"War, Peace"}', ["Drama", "War, Peace"]),
    "java": ("[Drama, War]", ["Drama", "War"]),
    "nan": ("[None, 'Drama', nan]", ["Drama"]),
    "one cell": ("N/A", []),
    "dash": ("-", []),
    "imdb": ("\\N", []),
    "words": ("No Genre", []),
}


@pytest.mark.parametrize(("cell", "names"), SAID.values(), ids=SAID)
def test_lists_of_categories(tmp_path: Path, cell: str, names: list[str]) -> None:
    rows = [(*row[:5], '"' + (cell if row[1] == "i0" else "A/B").replace('"', '""') + '"') for row in ROWS]
    source = written(tmp_path, text(rows))
    found = dict(read(source, **inspect_source(source).settings).items.select("item_id", "categories").rows())
    assert (found["i0"], found["i1"]) == (names, ["A", "B"])


def test_values_of_json(tmp_path: Path) -> None:
    is_whole(read(written(tmp_path, objects(rating=True))))
    mixed = [
        {**dict(zip(NAMES, row, strict=True)), "user_id": [7, "7", 7.0][place % 3]}
        for place, row in enumerate(ROWS)
    ]
    raw = read(written(tmp_path, "".join(json.dumps(entry) + "\n" for entry in mixed)))
    assert raw.interactions["user_id"].cast(pl.String).unique().to_list() == ["7"]
    raw = read(written(tmp_path, objects(item_id=2**64)))
    assert raw.items["item_id"].to_list() == ["18446744073709551616"]
    late = objects().replace('"timestamp"', '"other"') * 30 + objects()
    with pytest.raises(DataError, match=r"line 1: user 'u0' has no timestamp, other lines have one"):
        read(written(tmp_path, late))


DOCUMENTS = {
    "objects of several lines": "".join(
        json.dumps(dict(zip(NAMES, row, strict=True)), indent=1) + "\n" for row in ROWS
    ),
    "with commas between": ",\n".join(objects().strip().splitlines()),
    "a comma at each end": "".join(f"{line},\n" for line in objects().strip().splitlines()),
    "inside one object": json.dumps({"data": [json.loads(line) for line in objects().splitlines()]}),
    "by column, as pandas does": json.dumps(
        {name: {str(at): row[place] for at, row in enumerate(ROWS)} for place, name in enumerate(NAMES)}
    ),
    "by row number": json.dumps({str(at): dict(zip(NAMES, row, strict=True)) for at, row in enumerate(ROWS)}),
    "names and rows apart": json.dumps({"columns": NAMES, "index": list(range(len(ROWS))), "data": ROWS}),
    "inside an answer": json.dumps(
        {"page": {"of": 1}, "records": [json.loads(line) for line in objects().splitlines()]}, indent=2
    ),
}


@pytest.mark.parametrize("content", DOCUMENTS.values(), ids=DOCUMENTS)
def test_json_that_is_no_object_a_line(tmp_path: Path, content: str) -> None:
    raw = read(written(tmp_path, content, "rows.json"))
    assert raw.interactions.select("user_id", "timestamp").cast({"user_id": pl.String}).rows() == [
        (row[0], row[2]) for row in ROWS
    ]


def test_one_row_with_objects_in_it_is_a_row(tmp_path: Path) -> None:
    entry = {
        "user_id": "u",
        "item_id": "i",
        "title": "Film",
        "categories": [{"name": "Drama"}, {"name": "War"}],
    }
    raw = read(written(tmp_path, json.dumps(entry), "rows.json"))
    assert raw.items["categories"].to_list() == [["Drama", "War"]]


ABOVE = {
    "a title": "Sales of 2020\n\n",
    "comments": "# exported by a program\n# in January\n",
    "a title in its first cell": "Sales of January"
    + "," * (len(NAMES) - 1)
    + "\n"
    + "," * (len(NAMES) - 1)
    + "\n",
}


@pytest.mark.parametrize("above", ABOVE.values(), ids=ABOVE)
def test_a_title_above_the_names_is_no_row(tmp_path: Path, above: str) -> None:
    raw = read(written(tmp_path, above + text()))
    assert raw.rows_read == len(ROWS)
    first = 2 + above.count("\n")
    assert raw.interactions["line"].to_list() == list(range(first, first + len(ROWS)))
    assert any(f"from line {first - 1}" in note for note in raw.notes)


def test_names_that_stand_beside_nothing_are_names(tmp_path: Path) -> None:
    """Of two columns the second has no name: nobody can say that this is a title, so nothing is skipped."""
    file = written(tmp_path, "user_id,\nu,i\nu,j\n")
    with pytest.raises(DataError, match=r"no column 'item_id'; (did you|the file has: user_id)"):
        read(file)


def test_a_row_is_never_taken_for_a_title(tmp_path: Path) -> None:
    rows = "u0\n" + "".join(f"u{number},i{number},Film\n" for number in range(9))
    with pytest.raises(DataError, match="line 1: 1 fields in 'u0', expected 3"):
        read(written(tmp_path, rows), header=["user_id", "item_id", "title"])


def test_empty_columns_of_a_spreadsheet_have_no_names(tmp_path: Path) -> None:
    lines = "".join(f"{line},,,\n" for line in text().splitlines())
    file = written(tmp_path, lines)
    assert read(file).rows_read == len(ROWS)
    found = inspect_source(file)
    assert (found.problem, "header" in found.settings) == ("", False)
