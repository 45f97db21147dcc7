"""A small file that unpacks to an enormous one is no table: it is refused before it fills the memory.

What is unpacked is a stream, so that no more is ever unpacked than is allowed.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from deeprec.errors import DataError

FREE = 64 * 2**20  # bytes that anything may unpack to
RATIO = 200  # above that, times its stored size: logs with the most repetition reach some 50
_FREE_ROWS = 10_000_000
_FREE_CELLS = 2**30  # bytes that the cells of any columnar file may have: ten million rows of a hundred bytes
_ROWS = 50  # rows of a columnar file, a stored byte: three columns without any order need several bytes a row


def capped(stream: BinaryIO, stored: int, place: str, below: object = None) -> BinaryIO:
    """The stream, which raises DataError once it gives more than `stored` bytes of a table can unpack to.

    `below` is what it reads from, and kept as long as it: the garbage collector would close the file.
    """
    return io.BufferedReader(_Capped(stream, max(FREE, RATIO * stored), stored, place, below))


def check_rows(rows: int, stored: int, place: str) -> None:
    """Raise DataError for a columnar file that promises more rows than `stored` bytes of a table can hold."""
    if rows > max(_FREE_ROWS, _ROWS * stored):
        raise DataError(
            f"{place}: promises {rows:,} rows in {stored:,} bytes, as no table of interactions does; "
            "write it as CSV if it is one"
        )


def check_cells(size: int, stored: int, place: str) -> None:
    """Raise DataError for a columnar file whose cells are longer together than those of `stored` bytes can be.

    One text that stands in every row is kept once, and would be copied for each of them later.
    """
    if size > max(_FREE_CELLS, RATIO * stored):
        raise DataError(
            f"{place}: {stored:,} bytes hold cells of {size:,}, as no table of interactions does; "
            "shorten its texts, or write it as CSV if it is one"
        )


class _Capped(io.RawIOBase):
    def __init__(self, stream: BinaryIO, most: int, stored: int, place: str, below: object) -> None:
        self._stream, self._most, self._stored, self._place = stream, most, stored, place
        self._below = below
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        self._given += len(content)
        if self._given > self._most:
            raise DataError(
                f"{self._place}: {self._stored:,} bytes unpack to more than {self._most:,}, as no table does; "
                "if it is one, unpack it by hand and name the file"
            )
        buffer[: len(content)] = content
        return len(content)
