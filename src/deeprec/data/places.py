"""Where a row stands, for messages: a file and a line, also where a table is in many files."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """The files of a table, each with the number of the line before its first one.

    Lines of a table are counted through all its files.

    >>> table = Place("out", ((0, "out/part-0.csv"), (100, "out/part-1.csv")))
    >>> str(table), table.at(100), table.at(101)
    ('out', 'out/part-0.csv line 100', 'out/part-1.csv line 1')
    """

    name: str
    starts: tuple[tuple[int, str], ...] = ()

    def __str__(self) -> str:
        return self.name

    def at(self, line: int) -> str:
        """File and line of a row."""
        if not self.starts:
            return f"{self.name} line {line}"
        before, file = self.starts[bisect_left(self.starts, line, key=lambda start: start[0]) - 1]
        return f"{file} line {line - before}"
