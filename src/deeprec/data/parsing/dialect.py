"""How a text table is cut: what separates cells, and what a double quote means."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Quoting = Literal["doubled", "backslash", "literal"]
DELIMITERS = (",", "\t", ";", "|", "::")
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", " ": "space"}
_SAMPLE_ROWS = 200
_MOST_ABOVE = 10  # lines


@dataclass(frozen=True, slots=True)
class Dialect:
    """`quoting`: a quote inside quotes is doubled (RFC 4180), follows a backslash, or is a character like any other.

    `spaced`: a space follows each delimiter and is no part of the cell. `first_line`: where the table begins; not 1
    behind Excel's `sep=;`, or behind a title as spreadsheets and programs export it. `guessed`: literal for want of
    a better guess, so that no cell may look quoted.
    """

    delimiter: str
    quoting: Quoting
    spaced: bool = False
    first_line: int = 1
    guessed: bool = False

    def __str__(self) -> str:
        name = _NAMES.get(self.delimiter, "")
        quotes = {
            "doubled": "quoted cells",
            "backslash": "quoted cells with backslashes",
            "literal": "quotes are characters",
        }[self.quoting]
        begins = f", from line {self.first_line}" if self.first_line > 1 else ""
        return f"{name + ' ' if name else ''}{self.delimiter!r}, {quotes}{begins}"

    def rows(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """Cells of each row; raises csv.Error for quotes that this dialect does not know."""
        if len(self.delimiter) > 1:  # the csv module knows single characters; this one stands in no text
            lines = (line.replace(self.delimiter, "\x1f") for line in lines)
        return csv.reader(
            lines,
            delimiter="\x1f" if len(self.delimiter) > 1 else self.delimiter,
            quoting=csv.QUOTE_NONE if self.quoting == "literal" else csv.QUOTE_MINIMAL,
            escapechar="\\" if self.quoting == "backslash" else None,
            skipinitialspace=self.spaced,
            strict=True,
        )


def guess_dialects(
    sample: str, delimiter: str | None = None, quoting: Quoting | None = None, *, has_names: bool = True
) -> list[Dialect]:
    """Dialects to try, the likeliest first; the first that reads the whole file is its dialect.

    `sample` is the beginning of the file, `delimiter` and `quoting` what the user named. The
    delimiter is the one that cuts the most lines alike, into two cells at least. With `has_names` a line of names
    begins the table, and what stands above it is a title.
    """
    first_line = 1
    head, _, rest = sample.partition("\n")
    if head.strip().strip('"').lower().startswith("sep=") and len(head.strip().strip('"')) == 5:
        delimiter = delimiter or head.strip().strip('"')[4]
        sample, first_line = rest, 2
    elif has_names:
        lines = sample.splitlines(keepends=True)
        above = _lines_above(lines, (delimiter,) if delimiter else DELIMITERS)
        sample, first_line = "".join(lines[above:]), above + 1
    found = delimiter or _delimiter(sample)
    kinds = [quoting] if quoting else _quotings(sample, found)
    spaced = _is_spaced(sample, found)
    return [
        Dialect(found, kind, spaced, first_line, guessed=kind == "literal" and place > 0)
        for place, kind in enumerate(kinds)
    ]


def _lines_above(lines: Sequence[str], delimiters: Sequence[str]) -> int:
    """How many lines stand above the names: each holds its first cell at most, the table below is even.

    A title in a table of two columns must stand without a delimiter: `id,` may be names. Where spaces cut every
    line alike, the first line is names.
    """
    share, width = _fit("".join(lines), " ")
    if share == 1 and width > 2:
        return 0
    for mark in delimiters:
        cells = [[cell.strip() for cell in line.split(mark)] for line in lines[: _MOST_ABOVE + 1]]
        above = next((at for at, row in enumerate(cells) if any(row[1:])), 0)
        if not above or not all(cells[above]) or any(_is_cut(line, mark) for line in lines[:above]):
            continue
        bare = all(len(row) == 1 for row in cells[:above])
        share, width = _fit("".join(lines[above:]), mark)
        if share > 0.9 and (bare or width > 2):
            return above
    return 0


def _is_cut(line: str, mark: str) -> bool:
    """Whether a line holds a delimiter of any kind, but for empty cells at its end."""
    return any(delimiter in line.rstrip().rstrip(mark) for delimiter in DELIMITERS)


def _delimiter(sample: str) -> str:
    fits = {mark: _fit(sample, mark) for mark in DELIMITERS}
    best = max(fits, key=lambda mark: fits[mark])
    # Spaces stand in titles: they separate only where nothing else does.
    return " " if fits[best][1] == 0 and _fit(sample, " ")[0] > 0.9 else best


def _fit(sample: str, delimiter: str) -> tuple[float, int]:
    """Share of the lines that have as many cells as the first one, and that number; 0 where it is one."""
    rows = _sample_rows(sample, Dialect(delimiter, "literal" if delimiter in ("\t", "::") else "doubled"))
    if not rows or len(rows[0]) < 2:
        return (0.0, 0)
    alike = sum(len(row) == len(rows[0]) for row in rows)
    return (round(alike / len(rows), 1), len(rows[0]))


def _sample_rows(sample: str, dialect: Dialect) -> list[list[str]]:
    """The first rows, leniently: quotes that do not fit are nothing to judge a delimiter by."""
    rows: list[list[str]] = []
    try:
        for row in dialect.rows(iter(io.StringIO(sample, newline=""))):
            if any(cell.strip() for cell in row):
                rows.append(row)
            if len(rows) == _SAMPLE_ROWS:
                break
    except csv.Error:
        if dialect.quoting != "literal":
            return _sample_rows(sample, replace(dialect, quoting="literal"))
    return rows[:-1] if 1 < len(rows) < _SAMPLE_ROWS else rows  # the last may be cut off


def _quotings(sample: str, delimiter: str) -> list[Quoting]:
    """In tab-separated text a quote is a character, unless the quotes there are those of quoted cells."""
    if len(delimiter) > 1:
        return ["literal"]
    cells = _cells_with_quotes(sample, delimiter)
    quoted = [cell for cell in cells if _is_quoted(cell)]
    if delimiter == "\t":
        head = next(iter(_sample_rows(sample, Dialect(delimiter, "literal"))), [])
        sure = all(_is_quoted(cell) for cell in head)  # names in quotes: a program wrote all cells so
        like = sample.lstrip().startswith('"') or any('""' in cell[1:-1] for cell in quoted)
        fits = sure or (like and len(quoted) == len(cells))
        return ["doubled", "literal"] if fits else ["literal", "doubled"]
    kinds: list[Quoting] = ["backslash", "doubled"] if '\\"' in sample else ["doubled", "backslash"]
    return kinds if quoted else [*kinds, "literal"]


def _cells_with_quotes(sample: str, delimiter: str) -> Sequence[str]:
    rows = _sample_rows(sample, Dialect(delimiter, "literal"))
    return [cell for row in rows for cell in row if '"' in cell]


def _is_quoted(cell: str) -> bool:
    inner = cell[1:-1]
    return len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")


def _is_spaced(sample: str, delimiter: str) -> bool:
    rows = _sample_rows(sample, Dialect(delimiter, "literal"))[:20]
    later = [cell for row in rows for cell in row[1:]]
    return len(rows) > 1 and delimiter.strip() != "" and bool(later) and all(c.startswith(" ") for c in later)
