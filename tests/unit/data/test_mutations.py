"""Whatever happens to a file, reading it ends in a data set or in one line that says what is wrong.

Every reader gets its files with bytes flipped, rows cut, columns swapped, cells replaced. What is still read must
account for every row.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import zstandard
from reader_sources import FILES

from deeprec.config import DataConfig
from deeprec.data.inspection import inspect_source
from deeprec.data.prepare import prepare
from deeprec.errors import ConfigError, DataError

NASTY = (
    b"", b" ", b'"', b'""', b"'", b"nan", b"NaN", b"None", b"null", b"inf", b"-1", b"1e400", b"-0.0", b"1e17",
    b"99999999999", b"1600000000000", b"20200131", b"20209999", b"2020-13-45", b"0000-00-00",
    b"9999-12-31T23:59:59Z", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"[", b"['a' 'b", b"{}",
    b"[[[[", b"(((", b"a" * 3000, b"\r", b"\n", b"\t", b",", b";", b"::", b"|", b"\\", b"\x1f", b"\xc3", b"=1+1",
    b"18446744073709551616", b"-9223372036854775809", b"1_000", b"<|end|>", b"true",
)  # fmt: skip


def flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def cut(content: bytes, draw: random.Random) -> bytes:
    start, stop = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return draw.choice([content[:start], content[start:], content[:start] + content[stop:]])


def insert(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    return content[:place] + draw.choice(NASTY) + content[place:]


def replace_cell(content: bytes, draw: random.Random) -> bytes:
    cells = list(re.finditer(rb"[^\t\n,:|\"]+", content))
    if not cells:
        return content
    cell = draw.choice(cells)
    return content[: cell.start()] + draw.choice(NASTY) + content[cell.end() :]


def swap_lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    draw.shuffle(lines)
    return b"".join(lines)


def repeat_line(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    return content + draw.choice(lines) * draw.randint(1, 3)


def swap_columns(content: bytes, draw: random.Random) -> bytes:
    mark = draw.choice([b"\t", b",", b"::", b"|"])
    rows = [line.split(mark) for line in content.split(b"\n")]
    order = list(range(max(map(len, rows))))
    draw.shuffle(order)
    return b"\n".join(mark.join(row[place] for place in order if place < len(row)) for row in rows)


def ends(content: bytes, draw: random.Random) -> bytes:
    return content.replace(b"\n", draw.choice([b"\r\n", b"\r", b"\n\n", b"\n\r", b" \n"]))


def encode(content: bytes, draw: random.Random) -> bytes:
    encoding = draw.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32", "cp500"])
    wide = content.decode("utf-8", "replace").encode(encoding, "replace")
    return wide if draw.random() < 0.7 else flip(wide, draw)


def pack(content: bytes, draw: random.Random) -> bytes:
    packed = draw.choice([gzip.compress, zstandard.compress])(content)
    return packed if draw.random() < 0.3 else flip(packed, draw) if draw.random() < 0.5 else cut(packed, draw)


Mutation = Callable[[bytes, random.Random], bytes]
MUTATIONS: tuple[Mutation, ...] = (
    flip, cut, insert, replace_cell, replace_cell, swap_lines, repeat_line, swap_columns, ends, encode, pack,
)  # fmt: skip
COLUMNAR = "parquet and arrow"


def files_of(name: str, draw: random.Random, folder: Path) -> tuple[str, dict[str, bytes]]:
    """Reader and whole files of a source."""
    if name != COLUMNAR:
        return name, {file: text.encode() for file, text in FILES[name].items()}
    frame = pl.DataFrame(
        {
            "user_id": ["a", "a", "b"],
            "item_id": [1, 2, 1],
            "title": ["A", "B", "A"],
            "timestamp": pl.Series(
                [1, 2, 3], dtype=draw.choice([pl.Int64, pl.Datetime("us"), pl.Date, pl.Duration])
            ),
            "categories": [["x"], [], None],
            "rating": draw.choice(
                [[1, 2, 3], [1.0, None, float("nan")], [True, False, None], ["4,5", "x", ""]]
            ),
        },
        strict=False,
    )
    file = folder / "whole"
    (frame.write_parquet if draw.random() < 0.6 else frame.write_ipc)(file)
    content = file.read_bytes()
    file.unlink()
    return "table", {"rows": content}


def check_message(message: str) -> str:
    assert message, "a message without a word"
    assert "\n" not in message, "one line"
    return "refused"


def go_through(name: str, number: int, folder: Path) -> str:
    """One mutation of one source; how it ended."""
    draw = random.Random(f"{name} {number}")
    folder.mkdir()
    reader, files = files_of(name, draw, folder)
    victim = draw.choice(sorted(files))
    mutations: tuple[Mutation, ...] = (flip, cut, insert, pack) if name == COLUMNAR else MUTATIONS
    for _ in range(draw.choice([1, 1, 2])):
        files[victim] = draw.choice(mutations)(files[victim], draw)
    for file, content in files.items():
        (folder / file).write_bytes(gzip.compress(content) if file.endswith(".gz") else content)
    source = folder / next(iter(files)) if reader == "table" else folder
    more = {"unknown_items": "drop"} if draw.random() < 0.5 else {}
    config = DataConfig(name=reader, source=str(source), min_user_interactions=1, **more)
    try:
        dataset = prepare(config, seed=0)
    except (DataError, ConfigError) as error:
        return check_message(str(error))
    made = dataset.provenance
    assert made.rows_read == dataset.interactions.height + made.rows_dropped()
    return "read"


NAMES = [*FILES, COLUMNAR]


def check_all(names: list[str], numbers: range, folder: Path) -> None:
    ended = set()
    for name in names:
        for number in numbers:
            try:
                ended.add(go_through(name, number, folder / f"{name} {number}".replace(" ", "-")))
            except Exception as error:
                raise AssertionError(
                    f"mutation {number} of '{name}': {type(error).__name__}: {error}"
                ) from error
    assert ended == {"read", "refused"}  # a suite in which all end alike would show nothing


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    check_all(NAMES, range(-(-200 // len(NAMES))), tmp_path)


@pytest.mark.slow
def test_two_thousand_mutated_files(tmp_path: Path) -> None:
    check_all(NAMES, range(1000, 1000 + -(-2000 // len(NAMES))), tmp_path)


@pytest.mark.parametrize("number", range(40))
def test_inspecting_a_mutated_file_shows_or_refuses(tmp_path: Path, number: int) -> None:
    draw = random.Random(number)
    name = draw.choice([name for name in NAMES if name != COLUMNAR])
    files = {file: text.encode() for file, text in FILES[name].items()}
    victim = draw.choice(sorted(files))
    (tmp_path / victim).write_bytes(draw.choice(MUTATIONS)(files[victim], draw))
    try:
        found = inspect_source(tmp_path / victim)
    except (DataError, ConfigError) as error:
        check_message(str(error))
    else:
        assert found.problem or found.outcome
        assert found.toml
