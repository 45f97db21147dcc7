"""Tables whose columns have types: Parquet and Arrow files."""

from __future__ import annotations

import glob
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import polars as pl

from deeprec.data.parsing.bombs import check_cells, check_rows
from deeprec.data.parsing.lines import free_names, numbered
from deeprec.data.parsing.streams import translated

# How files begin; datasets of Hugging Face are streams, without a table of contents.
COLUMNAR = {b"PAR1": "Parquet", b"ARROW1": "Arrow", b"\xff\xff\xff\xff": "Arrow stream"}
_READERS: dict[str, Callable[..., pl.DataFrame]] = {
    "Parquet": partial(pl.read_parquet, glob=False, hive_partitioning=False),
    "Arrow": pl.read_ipc,
    "Arrow stream": pl.read_ipc_stream,
}


class Columnar:
    """A Parquet or Arrow file: its column names, and the named columns with their types."""

    def __init__(self, source: Path | bytes, kind: str, place: str, stored: int) -> None:
        """`stored` is how many bytes it has on disk; raises DataError where it promises more rows than they hold."""
        self._source = _named(source, kind) if isinstance(source, Path) else io.BytesIO(source)
        self._read_columns = _READERS[kind]
        self._place, self._size = place, stored
        self.blank_lines = 0
        with translated(place), _without_panics():
            names = self._read_columns(self._source, n_rows=0).columns
            rows = _promised_rows(self._source, kind)
        self.names = free_names(names)
        self._stored = dict(zip(self.names, names, strict=True))
        check_rows(rows, stored, place)

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The whole table as one batch; `line` is the number of the row, from 1."""
        yield self._read(columns, None)

    def head(self, count: int) -> pl.DataFrame:
        """The first rows, all columns."""
        return self._read(self.names, count)

    def _read(self, columns: Sequence[str], count: int | None) -> pl.DataFrame:
        if isinstance(self._source, io.BytesIO):
            self._source.seek(0)
        stored = [self._stored[name] for name in columns]
        with translated(self._place):
            rows = self._read_columns(self._source, columns=stored, n_rows=count).select(stored)
        check_cells(_size(rows), self._size, self._place)
        rows.columns = list(columns)
        return numbered(rows, range(1, rows.height + 1))


def _promised_rows(source: str | io.BytesIO, kind: str) -> int:
    """How many rows the foot of a file says that it has; 0 for a stream, which has none."""
    if kind == "Arrow stream":
        return 0
    scan = partial(pl.scan_parquet, glob=False) if kind == "Parquet" else pl.scan_ipc
    return int(scan(source).select(pl.len()).collect().item())


def _size(rows: pl.DataFrame) -> int:
    """Bytes of all cells, each for itself; polars doesn't count the texts of categories."""
    size = int(rows.estimated_size())
    for column in rows:
        if not isinstance(column.dtype, (pl.Categorical, pl.Enum)):
            continue
        found = column.rename("text").value_counts(name="rows")
        size += int((found["text"].cast(pl.String).str.len_bytes() * found["rows"]).sum() or 0)
    return size


def _named(path: Path, kind: str) -> str:
    """The path as polars understands it: signs such as `*` in a name are no pattern."""
    return glob.escape(str(path)) if kind == "Arrow" else str(path)


@contextmanager
def _without_panics() -> Iterator[None]:
    """Keep what Rust writes to standard error, beside the error that it raises, about types that polars lacks."""
    try:
        error_output = os.dup(2)
    except OSError:  # it is closed: nothing to keep
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(error_output, 2)
            os.close(error_output)
