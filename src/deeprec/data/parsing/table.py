"""One door to every kind of table: what a file is shows in its content, not in its name.

`read_table` goes through the files of a table batch by batch and keeps what a plan takes of
each, so that memory holds the columns in use and one batch of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Generic, Protocol, TypeVar, cast

import polars as pl

from deeprec.data.parsing.bombs import capped
from deeprec.data.parsing.columnar import COLUMNAR, Columnar
from deeprec.data.parsing.delimited import Delimited, DialectError
from deeprec.data.parsing.dialect import Dialect, Quoting, guess_dialects
from deeprec.data.parsing.lines import joined
from deeprec.data.parsing.objects import Objects
from deeprec.data.parsing.streams import Metered, translated, unpacked
from deeprec.data.parsing.text import EncodingError, check_encoding, fits, guess_encoding, pieces, sample_of
from deeprec.errors import DataError
from deeprec.progress import Bar, progress_bar


@dataclass(frozen=True)
class DataFile:
    """One file of a table. `open` gives its bytes as stored; `columns` is what its folder's name says (`day=3`)."""

    place: str
    open: Callable[[], BinaryIO]
    size: int
    path: Path | None = None  # where it lies on disk, if it does so by itself
    columns: Mapping[str, str] = field(default_factory=dict)
    packed: int | None = None  # bytes that it takes in an archive

    @property
    def stored(self) -> int:
        """Bytes on disk."""
        return self.size if self.packed is None else self.packed


@dataclass(frozen=True, slots=True)
class TextOptions:
    """What is known of a text table; None or empty: found out. `encodings` are tried in this order."""

    delimiter: str | None = None
    quoting: Quoting | None = None
    encodings: tuple[str, ...] = ()
    header: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What is known before the rows: where they are, their columns, and how the file is written."""

    place: str
    names: tuple[str, ...]
    kind: str  # e.g. "comma ',', quoted cells, utf-8", "Parquet"
    is_text: bool


class Plan(Protocol):
    """Which columns are needed, and what is kept of each batch."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the needed columns, as the file calls them."""
        ...

    def take(self, rows: pl.DataFrame, place: str) -> pl.DataFrame:
        """What is kept of a batch that has `line` and `columns`; `place` names the file in errors."""
        ...


PlanT = TypeVar("PlanT", bound=Plan)


@dataclass(frozen=True)
class TableRows(Generic[PlanT]):
    """What was kept of a table, in the order of its files and lines.

    `line` counts through all files: `starts` holds the number before each file's first line, and its place.
    """

    rows: pl.DataFrame
    plan: PlanT
    head: Head
    starts: tuple[tuple[int, str], ...]
    blank_lines: int


class _Rows(Protocol):
    names: list[str]
    blank_lines: int

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]: ...


def read_table(
    files: Sequence[DataFile], options: TextOptions, make_plan: Callable[[Head], PlanT]
) -> TableRows[PlanT]:
    """Rows of all files, which are parts of one table; the plan is made from the first one's columns.

    Text is read in the first encoding and dialect that fits a whole file. Raises DataError
    with place and remedy for what can't be read, and whatever the plan raises.
    """
    kept: list[pl.DataFrame] = []
    starts: list[tuple[int, str]] = []
    plan, head, blank, before = None, None, 0, 0
    filled = [file for file in files if len(files) == 1 or _holds_something(file)] or list(files[:1])
    for file in filled:
        frames, plan, found, skipped = _read_file(file, options, plan, make_plan)
        head = head or found
        starts.append((before, file.place))
        kept += [frame.with_columns(pl.col("line") + before) for frame in frames] if before else frames
        before = max([before, *(int(frame["line"][-1]) for frame in kept[-1:] if frame.height)])
        blank += skipped
    assert plan is not None
    assert head is not None
    return TableRows(joined(kept, head.place), plan, head, tuple(starts), blank)


def first_filled(files: Sequence[DataFile]) -> DataFile:
    """The first file of a table that is not empty, to look at; the first one if all are."""
    return next((file for file in files if len(files) == 1 or _holds_something(file)), files[0])


def _holds_something(file: DataFile) -> bool:
    """Whether a part is not empty, also when unpacked: Spark leaves parts without a row."""
    if not file.size:
        return False
    with _opened(file, None) as stream, translated(file.place):
        return bool(sample_of(stream))


def read_sample(file: DataFile, options: TextOptions, count: int) -> tuple[Head, pl.DataFrame]:
    """The head of a file and its first rows, all columns, by the first way that reads them."""
    first = ""
    for way in _ways(file, options):
        with _opened(file, None) as stream, translated(file.place):
            try:
                rows = way.rows(stream)
                head = _head(file, way, rows)
                sample = rows.head(count) if isinstance(rows, Columnar) else _first_rows(rows, count)
                return head, sample.with_columns(_above(file, head.names))
            except (DialectError, EncodingError) as error:
                first = first or str(error)
    raise DataError(first)


def is_written_in(file: DataFile, encoding: str) -> bool:
    """Whether the whole file is text in this encoding; files with typed columns are no text, and pass."""
    with _opened(file, None) as stream:
        return sample_of(stream).startswith(tuple(COLUMNAR)) or fits(stream, encoding, file.place)


def _first_rows(rows: _Rows, count: int) -> pl.DataFrame:
    kept = [pl.DataFrame(schema={"line": pl.Int64, **dict.fromkeys(rows.names, pl.String)})]
    for batch in rows.batches(rows.names):
        kept.append(batch.select("line", *rows.names))
        if sum(frame.height for frame in kept) >= count:
            break
    return pl.concat(kept).head(count)


@dataclass(frozen=True, slots=True)
class _Way:
    kind: str
    is_text: bool
    rows: Callable[[BinaryIO], _Rows]


def _read_file(
    file: DataFile, options: TextOptions, plan: PlanT | None, make_plan: Callable[[Head], PlanT]
) -> tuple[list[pl.DataFrame], PlanT, Head, int]:
    """Batches as the plan keeps them; tries each way to read the file until one fits all of it."""
    first = ""
    for way in _ways(file, options):
        with (
            progress_bar(f"reading {Path(file.place).name}", file.size) as bar,
            _opened(file, bar) as stream,
        ):
            try:
                rows = way.rows(stream)
                head = _head(file, way, rows)
                chosen = plan or make_plan(head)
                frames = list(_taken(file, rows, chosen))
                return frames, chosen, head, rows.blank_lines
            except (DialectError, EncodingError) as error:
                first = first or str(error)
    raise DataError(first)


def _taken(file: DataFile, rows: _Rows, plan: Plan) -> Iterator[pl.DataFrame]:
    inside = [name for name in plan.columns if name in rows.names]
    absent = [name for name in plan.columns if name not in rows.names and name not in file.columns]
    if absent:
        raise DataError(
            f"{file.place}: no column '{absent[0]}', which other files of this table have; "
            f"found: {', '.join(rows.names)}"
        )
    above = _above(file, plan.columns)
    batch = None
    for batch in rows.batches(inside):
        yield plan.take(batch.select("line", *inside, *above), file.place)
    if batch is None:  # a table without rows has its columns all the same
        batch = pl.DataFrame(schema={"line": pl.Int64, **dict.fromkeys(inside, pl.String)})
        yield plan.take(batch.with_columns(*above), file.place)


def _above(file: DataFile, names: Sequence[str]) -> list[pl.Expr]:
    """Columns in the names of the folders above."""
    return [pl.lit(file.columns[name]).alias(name) for name in names if name in file.columns]


def _head(file: DataFile, way: _Way, rows: _Rows) -> Head:
    return Head(file.place, (*rows.names, *file.columns), way.kind, way.is_text)


def _ways(file: DataFile, options: TextOptions) -> list[_Way]:
    """How this file may be read, the likeliest first."""
    with _opened(file, None) as stream, translated(file.place):
        sample = sample_of(stream)
    kind = next((kind for magic, kind in COLUMNAR.items() if sample.startswith(magic)), None)
    if kind is not None:
        return [_Way(kind, False, partial(_columnar, file, kind))]
    guessed = guess_encoding(sample)
    usual = [check_encoding(name) for name in options.encodings] or [guessed]
    encodings = usual if guessed == "utf-8" else [guessed]  # its marks are no chance
    return [way for encoding in encodings for way in _text_ways(file, options, encoding, sample)]


def _text_ways(file: DataFile, options: TextOptions, encoding: str, sample: bytes) -> list[_Way]:
    text = sample.decode(encoding, "replace").removeprefix("\ufeff")
    if text.lstrip()[:1] in ("{", "["):
        return [_Way(f"JSON, {encoding}", True, partial(_objects, file, encoding))]
    return [
        _Way(f"{dialect}, {encoding}", True, partial(_delimited, file, encoding, dialect, options.header))
        for dialect in guess_dialects(text, options.delimiter, options.quoting, has_names=not options.header)
    ]


def _columnar(file: DataFile, kind: str, stream: BinaryIO) -> _Rows:
    plain = file.path is not None and _is_stored(file)
    with translated(file.place):
        return Columnar(file.path if plain and file.path else stream.read(), kind, file.place, file.stored)


def _is_stored(file: DataFile) -> bool:
    """Whether the file is columnar as it lies on disk, not inside a packed one."""
    with closing(file.open()) as stream:
        return stream.read(6).startswith(tuple(COLUMNAR))


def _objects(file: DataFile, encoding: str, stream: BinaryIO) -> _Rows:
    return Objects(pieces(stream, encoding, file.place), file.place)


def _delimited(
    file: DataFile, encoding: str, dialect: Dialect, header: tuple[str, ...] | None, stream: BinaryIO
) -> _Rows:
    return Delimited(pieces(stream, encoding, file.place), dialect, file.place, header)


@contextmanager
def _opened(file: DataFile, bar: Bar | None) -> Iterator[BinaryIO]:
    with translated(file.place):
        stored = file.open()
    with closing(stored):
        content = stored if file.packed is None else capped(stored, file.packed, file.place)
        yield unpacked(cast(BinaryIO, Metered(content, bar)) if bar else content, file.place, file.stored)
