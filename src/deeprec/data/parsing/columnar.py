"""Tables whose columns have types: Parquet and Arrow files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from deeprec.data.parsing.bombs import check_rows
from deeprec.data.parsing.streams import translated

COLUMNAR = {b"PAR1": "Parquet", b"ARROW1": "Arrow"}


class Columnar:
    """A Parquet or Arrow file: its column names, and the named columns with their types."""

    def __init__(self, source: Path | bytes, kind: str, place: str, stored: int) -> None:
        """`stored` is how many bytes it has on disk; raises DataError where it promises more rows than they hold."""
        self._source = source if isinstance(source, Path) else io.BytesIO(source)
        self._kind = kind
        self._place = place
        self.blank_lines = 0
        with translated(place):
            schema = pl.read_parquet_schema if kind == "Parquet" else pl.read_ipc_schema
            self.names = list(schema(self._source))
            scan = pl.scan_parquet if kind == "Parquet" else pl.scan_ipc
            rows = int(scan(self._source).select(pl.len()).collect().item())  # its foot says so
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
        with translated(self._place):
            read = pl.read_parquet if self._kind == "Parquet" else pl.read_ipc
            rows = read(self._source, columns=list(columns), n_rows=count)
        rows = rows.rename({"line": "line_"}) if "line" in rows.columns else rows
        return rows.insert_column(0, pl.Series("line", range(1, rows.height + 1), dtype=pl.Int64))
