"""What can't be meant: ids that are none, titles that are lists, files of other programs; with place and remedy."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from deeprec.config import DataConfig
from deeprec.data.inspection import inspect_source
from deeprec.data.prepare import prepare
from deeprec.data.raw import check_raw
from deeprec.data.readers.table import read_own_tables
from deeprec.errors import DataError

HEADER = "user_id,item_id,title\n"


def refused(file: Path, **settings: str) -> str:
    """What the reader says."""
    with pytest.raises(DataError) as caught:
        check_raw(read_own_tables(file, DataConfig.model_validate({"name": "table", **settings})))
    return str(caught.value).removeprefix(f"{file.parent}/")


def written(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


@pytest.mark.parametrize("word", ["NaN", "nan", "<NA>", "None", "NULL", "\\N", "#N/A", "NaT"])
@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_no_value_is_no_id(tmp_path: Path, word: str, column: str) -> None:
    rows = ["7,8,A\n", "9,8,A\n", f"{word},8,A\n" if column == "user_id" else f"7,{word},A\n"]
    assert refused(written(tmp_path, HEADER + "".join(rows))).startswith(
        f"rows.csv line 4: {column} = {word!r} is no id; "
    )


def test_users_may_be_called_null(tmp_path: Path) -> None:
    file = written(tmp_path, HEADER + "anna,null,A\nNaN,b,B\nnull,b,B\n")
    raw = read_own_tables(file, DataConfig(name="table"))
    check_raw(raw)
    assert raw.interactions["user_id"].cast(pl.String).to_list() == ["anna", "NaN", "null"]


def test_how_many_ids_are_missing_is_said(tmp_path: Path) -> None:
    message = refused(written(tmp_path, HEADER + "a,1,A\n" + ",1,A\n" * 3))
    assert message == "rows.csv line 3: empty user_id (3 of 4 rows have none); fill it in or remove the line"


@pytest.mark.parametrize("value", [{"$oid": "5f"}, ["i1"], {}])
def test_an_object_is_no_id_and_no_title(tmp_path: Path, value: object) -> None:
    row = {"user_id": "a", "item_id": "1", "title": "A"}
    for name in ("user_id", "item_id"):
        message = refused(written(tmp_path, json.dumps({**row, name: value}), "rows.jsonl"))
        assert message.startswith(f"rows.jsonl line 1: {name} = {json.dumps(value)!r} is no id; ")
    message = refused(written(tmp_path, json.dumps({**row, "title": value}), "rows.jsonl"))
    assert message.startswith("rows.jsonl line 1: title = ")
    assert "is a list or an object; write plain text" in message


def test_titles_that_only_look_like_lists_stay(tmp_path: Path) -> None:
    file = written(tmp_path, HEADER + "a,1,[1408]\na,2,[REC]\na,3,NaN\na,4,None\n")
    raw = read_own_tables(file, DataConfig(name="table"))
    check_raw(raw)
    assert raw.items["title"].to_list() == ["[1408]", "[REC]", "", "None"]


def test_some_ids_that_differ_by_zeros_are_shown(tmp_path: Path) -> None:
    rows = written(tmp_path, "user_id,item_id\n" + "".join(f"a,{item:03d}\n" for item in (100, 7, 8)))
    items = written(tmp_path, "item_id,title\n100,A\n7,B\n8,C\n", "items.csv")
    config = DataConfig(name="table", source=str(rows), items=str(items))
    with pytest.raises(
        DataError, match=r"'007' is not in .*\(2 of 3 rows .*'007' here, '7' there: .*zeros\)"
    ):
        prepare(config, seed=0)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"Obj\x01\x04\x14avro", "an Avro file"),
        (b"ORC\x08\x03\x10\x02", "an ORC file"),
        (b"\x93NUMPY\x01\x00v\x00", "a NumPy array"),
        (b"FEA1\0\0\0\0", "a Feather file of version 1"),
        (b"PARE" + b"\x15" * 60, "an encrypted Parquet file"),
        (b"MATLAB 5.0 MAT-file", "a MATLAB file"),
        (b"<stata_dta><header>", "a Stata file"),
        (b"\0" * 12 + b"\xc2\xea\x81\x60", "a SAS file"),
        (b"\x89PNG\r\n\x1a\n", "an image"),
        (b"\x04\x22\x4d\x18d@\xa7", "packed with LZ4"),
        (b"\x5d\x00\x00\x80\x00\xff\xff", "packed with LZMA"),
    ],
)
def test_files_of_other_programs(tmp_path: Path, content: bytes, kind: str) -> None:
    assert refused(written(tmp_path, content)).startswith(f"rows.csv: is {kind}; ")


def test_columns_that_only_begin_like_another_file(tmp_path: Path) -> None:
    file = written(tmp_path, "orchestra,user_id,item_id,title\nx,a,1,A\n")
    assert read_own_tables(file, DataConfig(name="table")).rows_read == 1


@pytest.mark.parametrize("member", ["xl/workbook.xml", "content.xml", "Index/Document.iwa"])
def test_workbooks(tmp_path: Path, member: str) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(member, "x")
    assert (
        refused(written(tmp_path, stream.getvalue(), "a.zip"))
        == "a.zip: is a workbook; save the sheet as CSV"
    )


@pytest.mark.parametrize("content", ["[]", "{}\n{}\n", "[{}]"])
def test_objects_without_keys(tmp_path: Path, content: str) -> None:
    assert "holds no object with keys" in refused(written(tmp_path, content, "rows.json"))


def test_types_that_polars_does_not_know_are_one_line(tmp_path: Path) -> None:
    """Rust writes its own lines to standard error where it gives up; none of them is shown."""
    odd = pa.array([1_580_428_800_000_000], pa.timestamp("us", "+05:30"))
    table = (
        pl.DataFrame({"user_id": ["a"], "item_id": ["1"], "title": ["A"]})
        .to_arrow()
        .append_column("timestamp", odd)
    )
    with (
        pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as stream,
        pa.ipc.new_file(stream, table.schema) as writer,
    ):
        writer.write_table(table)
    words = [
        "data",
        "prepare",
        "table",
        "--source",
        str(tmp_path / "rows.arrow"),
        "--run",
        str(tmp_path / "run"),
    ]
    program = [sys.executable, "-c", "from deeprec.cli import main; main()", *words]
    outcome = subprocess.run(program, capture_output=True, text=True, check=False)
    assert outcome.returncode == 2
    assert "\n" not in outcome.stderr.strip()
    assert "rows.arrow: can't be read" in outcome.stderr
    assert "write its columns with plainer types" in outcome.stderr


def test_a_name_that_stands_twice_is_no_row(tmp_path: Path) -> None:
    file = written(tmp_path, "user_id,item_id,time,time,title\nu,i,1580000000,1580000001,A\n")
    with pytest.raises(DataError, match="line 1: column 'time' appears twice; rename one of them"):
        inspect_source(file)


def test_a_separator_too_many_is_called_one(tmp_path: Path) -> None:
    assert refused(written(tmp_path, HEADER + "u,i,A,\n")) == (
        "rows.csv line 2: 4 fields in 'u,i,A,', expected 3 separated by ',' (user_id, item_id, title); take away the "
        "separator at the end of lines"
    )


def test_what_cuts_the_lines_can_be_named(tmp_path: Path) -> None:
    file = written(tmp_path, "user_id^item_id^title\nu^i^A\n")
    assert refused(file).endswith("or say what cuts the lines with data.delimiter")
    assert read_own_tables(file, DataConfig(name="table", delimiter="^")).rows_read == 1


def test_one_column_is_not_who_and_what(tmp_path: Path) -> None:
    file = written(tmp_path, "who,title\n7,A\n")
    with pytest.raises(DataError, match="user_id and item_id are both 'who'; name the column of each"):
        read_own_tables(
            file,
            DataConfig.model_validate({"name": "table", "columns": {"user_id": "who", "item_id": "who"}}),
        )
