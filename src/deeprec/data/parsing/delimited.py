"""Rows of a text table with their line numbers: quickly where the text is plain, exactly everywhere.

A piece of the file goes to polars, and what comes back is held against counts of the text: as
many rows as lines, as many separators outside of cells as the rows need. Where that does not
agree (blank lines, line breaks inside quotes, a wrong number of cells) the csv module reads
the piece line by line: it knows where it is, and errors name the line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import polars as pl
from polars.exceptions import PolarsError

from deeprec.data.parsing.dialect import Dialect
from deeprec.data.parsing.lines import free_names, numbered
from deeprec.data.parsing.text import Piece, count_lines
from deeprec.errors import DataError

_BATCH = 100_000
_LEARN = 200  # lines that tell which columns hold numbers
csv.field_size_limit(1 << 28)  # the default refuses a long description; lines are limited by `pieces`


class DialectError(DataError):
    """The text does not fit the dialect that was taken; another one may be tried."""


class Delimited:
    """A text table: its column names, and its rows as text in batches.

    `header`: the column names of a file without a header line; empty: they are numbered.
    `blank_lines` counts what was skipped: lines without text, and lines of empty cells, as
    spreadsheets write them.
    """

    def __init__(
        self, pieces: Iterator[Piece], dialect: Dialect, place: str, header: Sequence[str] | None = None
    ) -> None:
        self._dialect = dialect
        self._place = place
        self._lines = _Lines(pieces)
        self.blank_lines = 0
        for _ in range(1, dialect.first_line):
            next(self._lines, "")
        self._first: pl.DataFrame | None = None  # a row that was taken for its width
        if header is None:
            line, row = self._first_row()
            self.names = _names(row, f"{self._place} line {line}")
        else:
            self.names = free_names(header) or self._numbered_names()
        self._numeric = self._number_columns()

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Rows as text columns behind `line` (int64, the line where the row begins): all, not `columns` alone.

        Empty cells are null. Raises DialectError naming the first line that has not as many
        cells as there are columns.
        """
        if self._first is not None:
            yield self._first
        while self._lines.at_end_of_piece:
            if not self._lines.next_piece():
                return
        while True:
            piece = self._lines.rest()
            frame = self._quick(piece)
            if frame is None:
                yield from self._slow()
            else:
                self._lines.skip(piece)
                yield frame
            if not self._lines.next_piece():
                return

    def _first_row(self) -> tuple[int, list[str]]:
        """The first row that holds something, and its line."""
        line = self._lines.line + 1
        for row in self._rows():
            if any(cell.strip() for cell in row):
                return line, row
            line = self._lines.line + 1
        raise DataError(f"{self._place}: is empty; expected a line of column names and rows")

    def _numbered_names(self) -> list[str]:
        line, row = self._first_row()
        self.names = [f"column_{number}" for number in range(1, len(row) + 1)]
        self._first = self._frame([row], [line])
        return self.names

    def _quick(self, piece: Piece) -> pl.DataFrame | None:
        """The piece as polars reads it; None where that is not surely exact."""
        content, n, mark = _plain(piece.content), len(self.names), self._dialect.delimiter.encode()
        quoted = self._dialect.quoting != "literal" and b'"' in content
        odd = b"\r" in content or self._dialect.spaced or (quoted and self._dialect.quoting == "backslash")
        if n < 2 or odd or (len(mark) > 1 and b"\x1f" in content):
            return None
        marks = content.count(mark)
        if len(mark) > 1:  # polars knows single characters; this one stands nowhere here
            content, mark = content.replace(mark, b"\x1f"), b"\x1f"
        try:
            rows = pl.read_csv(
                io.BytesIO(content),
                has_header=False,
                separator=mark.decode(),
                quote_char='"' if quoted else None,
                schema={f"{place}": pl.String for place in range(n)},
                infer_schema=False,
            )
        except PolarsError:
            return None
        inside = sum(_count(rows[name], mark.decode()) for name in rows.columns) if quoted else 0
        if rows.height != content.count(b"\n") or marks - inside != rows.height * (n - 1):
            return None
        rows.columns = self.names
        rows = numbered(rows, range(piece.first_line, piece.first_line + rows.height))
        return self._without_blanks(self._unquoted(rows))

    def _without_blanks(self, rows: pl.DataFrame) -> pl.DataFrame:
        if not rows.to_series(1).null_count():
            return rows
        cells = pl.all_horizontal(pl.nth(range(1, rows.width)).fill_null("").str.strip_chars() == "")
        kept = rows.filter(~cells)
        self.blank_lines += rows.height - kept.height
        return kept

    def _unquoted(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows; DialectError where quotes were only guessed to be characters, and a cell is quoted."""
        if self._dialect.guessed:
            quoted = rows.filter(pl.any_horizontal(pl.exclude("line").str.contains('^".*"$'))).head(1)
            if quoted.height:
                raise DialectError(f"{self._place} line {quoted['line'][0]}: a quoted cell")
        return rows

    def _slow(self) -> Iterator[pl.DataFrame]:
        """Rows by the csv module, to the end of a piece with which a row ends, too."""
        numbers: list[int] = []
        rows: list[list[str]] = []
        before = self._lines.line
        for row in self._rows():
            if any(cell and not cell.isspace() for cell in row):
                self._check(row, before + 1)
                rows.append(row)
                numbers.append(before + 1)
            else:
                self.blank_lines += 1
            before = self._lines.line
            self._lines.taken.clear()
            if len(rows) == _BATCH:
                yield self._frame(rows, numbers)
                rows, numbers = [], []
            if self._lines.at_end_of_piece:
                break
        if rows:
            yield self._frame(rows, numbers)

    def _rows(self) -> Iterator[list[str]]:
        """Rows from where the lines are; DialectError for quotes that do not fit."""
        before = self._lines.line
        self._lines.taken.clear()
        try:
            for row in self._dialect.rows(self._lines):
                yield row
                before = self._lines.line
        except csv.Error as error:
            ends = "end of data" in str(error)
            problem = "a quoted cell begins that never ends" if ends else "text stands behind a closing quote"
            raise DialectError(
                f"{self._place} line {before + 1 if ends else self._lines.line}: {problem}; double the quotes inside "
                "a quoted cell, or set data.quoting='literal' if quotes are characters"
            ) from None

    def _check(self, row: list[str], line: int) -> None:
        if len(row) != len(self.names):
            shown, n = self._dialect.delimiter.join(row)[:80], len(self.names)
            ends = len(row) > n and not any(cell.strip() for cell in row[n:])
            remedy = (
                "take away the separator at the end of lines"
                if ends
                else "quote cells that hold the separator"
            )
            raise DialectError(
                f"{self._place} line {line}: {len(row)} fields in {shown!r}, expected {n} separated by "
                f"{self._dialect.delimiter!r} ({', '.join(self.names)}); {remedy}"
            )
        if len(self._lines.taken) > 1 and self._swallows(self._lines.taken):
            raise DialectError(
                f"{self._place} line {line}: a quoted cell holds {len(self._lines.taken)} lines that are rows "
                "themselves; close its quotes, or set data.quoting='literal' if quotes are characters"
            )

    def _swallows(self, lines: Sequence[str]) -> bool:
        """Whether each line inside the quotes is a row like the others, so that a quote was left open."""
        cut = [line.rstrip("\r\n").split(self._dialect.delimiter) for line in lines]
        alike = all(len(cells) == len(self.names) for cells in cut)
        return (
            alike
            and bool(self._numeric)
            and all(_is_number(cells[at]) for cells in cut for at in self._numeric)
        )

    def _number_columns(self) -> list[int]:
        """Places of the columns that hold numbers in nearly all of the first lines."""
        lines = self._lines.rest().text.splitlines()[:_LEARN]
        rows = [
            cells for line in lines if len(cells := line.split(self._dialect.delimiter)) == len(self.names)
        ]
        share = [
            sum(_is_number(row[at]) for row in rows) / max(len(rows), 1) for at in range(len(self.names))
        ]
        return [at for at, value in enumerate(share) if value > 0.9]

    def _frame(self, rows: list[list[str]], numbers: Sequence[int]) -> pl.DataFrame:
        columns = zip(self.names, zip(*rows, strict=True), strict=True)
        frame = pl.DataFrame([pl.Series(name, cells, dtype=pl.String) for name, cells in columns])
        return self._unquoted(numbered(frame.with_columns(pl.all().replace("", None)), numbers))


class _Lines:
    """Lines across pieces for the csv module, which takes more of them while a quoted cell is open."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._piece = Piece(1, b"")
        self._place = 0  # bytes of the piece that were taken
        self._stream: Iterator[str] = iter(())
        self.line = 0  # the last one that was taken
        self.taken: list[str] = []  # since somebody cleared it

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._stream, None)
        if line is None:
            if not self.next_piece():
                raise StopIteration
            line = next(self._stream)
        self._place += len(line.encode("utf-8"))
        self.line += 1
        self.taken.append(line)
        return line

    @property
    def at_end_of_piece(self) -> bool:
        return self._place >= len(self._piece.content)

    def rest(self) -> Piece:
        """What is left of this piece."""
        return Piece(self.line + 1, self._piece.content[self._place :])

    def skip(self, piece: Piece) -> None:
        """Go behind what `rest` gave."""
        self._place = len(self._piece.content)
        self._stream = iter(())
        self.line = piece.first_line + count_lines(piece.content) - 1

    def next_piece(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._piece, self._place = piece, 0
        self._stream = iter(io.StringIO(piece.text, newline=""))
        return True


def _plain(content: bytes) -> bytes:
    """With line feeds alone, and without blank lines at the end."""
    return content.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"


def _names(row: Sequence[str], place: str) -> list[str]:
    names = [cell.strip() or f"column_{number}" for number, cell in enumerate(row, 1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"{place}: column '{twice}' appears twice; rename one of them, or if the line is a row already, name the "
            "columns with data.header (for items data.item_header)"
        )
    return free_names(names)


def _count(cells: pl.Series, mark: str) -> int:
    return int(cells.str.count_matches(mark, literal=True).sum() or 0)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
