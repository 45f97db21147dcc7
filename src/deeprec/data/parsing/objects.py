"""Objects as rows: JSON lines, one JSON document, or Python literals a line, as older dumps have them."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from deeprec.data.parsing.lines import free_names, numbered
from deeprec.data.parsing.text import Piece, whole_text
from deeprec.errors import DataError

_BATCH = 100_000
_SEEN = 10_000  # objects whose keys are the columns of the table: a key may be rare, but not that rare
# Surrogates as escapes: a pair is two, one right behind the other.
_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
# What literal_eval and the JSON parser raise on text that is no object.
_NO_OBJECT = (ValueError, SyntaxError, MemoryError, RecursionError, TypeError)


_GAP = re.compile(r"[\s,]*")
_AROUND = frozenset(
    {"data", "records", "rows", "results", "value", "values", "events"}
)  # what services put around rows


class Objects:
    """Objects of a text, a row each. `names`: the keys of the first ones."""

    def __init__(self, pieces: Iterator[Piece], place: str) -> None:
        self._pieces = pieces
        self._place = place
        self._first = next(pieces, None)
        self.blank_lines = 0
        self._is_document = self._first is not None and _begins_document(self._first.content)
        keys = self._keys()
        if not keys:
            raise DataError(f"{place}: holds no object with keys; expected one JSON object a line")
        self.names = free_names(keys)
        self._keys_of = dict(zip(self.names, keys, strict=True))
        self.blank_lines = 0

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """`line` and the named keys as text; null where an object lacks one.

        Numbers are written as Python does, whole ones without a point; lists and objects
        as JSON. Raises DataError naming the first line that is no object.
        """
        if self._first is None:
            return
        keys = {name: self._keys_of[name] for name in columns}
        if self._is_document:
            yield from _frames(self._document(), keys)
            return
        for piece in self._all():
            frame = _quick(piece, keys)
            if frame is not None:
                yield frame
            else:
                yield from _frames(self._objects(piece), keys)

    def _all(self) -> Iterator[Piece]:
        assert self._first is not None
        yield self._first
        yield from self._pieces

    def _keys(self) -> list[str]:
        if self._first is None:
            raise DataError(f"{self._place}: is empty; expected one JSON object a line")
        source = self._document() if self._is_document else self._objects(self._first)
        return list(dict.fromkeys(key for _, entry in islice(source, _SEEN) for key in entry))

    def _objects(self, piece: Piece) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, line in enumerate(io.BytesIO(piece.content.replace(b"\r\n", b"\n")), piece.first_line):
            if line.isspace():
                self.blank_lines += 1
                continue
            yield number, _object(line, f"{self._place} line {number}")

    def _document(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Objects of a text that is not one a line, numbered from 1: nobody can say on which line each stands."""
        self._first = Piece(1, b"".join(piece.content for piece in self._all()))
        self._pieces = iter(())
        try:
            entries = _entries(self._first.text)
        except _NO_OBJECT as error:
            raise DataError(
                f"{self._place}: is no JSON array of objects, and no object a line ({error}); write one object a line"
            ) from None
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict):
                raise DataError(
                    f"{self._place} entry {number}: {str(entry)[:60]!r} is no JSON object; remove it"
                )
            yield number, entry


def _begins_document(content: bytes) -> bool:
    """Whether the text is one array, one object with the rows in it, or objects of several lines each."""
    first, _, rest = content.lstrip().partition(b"\n")
    if first.startswith(b"["):
        return True
    entry = _read(first)
    if entry is None:  # it goes on in the next line, or is damaged
        return first.rstrip().endswith((b"{", b"[", b","))
    return not rest.strip() and len(_rows_inside(entry)) > 0


def _entries(text: str) -> list[Any]:
    """What a text holds: the entries of one array, the rows inside one object, or objects in turn."""
    values: list[Any] = []
    at = _between(text, 0)
    while at < len(text):
        value, end = json.JSONDecoder().raw_decode(text, at)
        values.append(value)
        at = _between(text, end)
    if len(values) > 1 or not values:
        return values
    return values[0] if isinstance(values[0], list) else _rows_inside(values[0]) or values


def _between(text: str, at: int) -> int:
    """Where the next value begins, behind spaces and commas."""
    found = _GAP.match(text, at)
    return found.end() if found else at


def _rows_inside(entry: Any) -> list[Any]:
    """The list of objects that one object was put around, as services answer; empty where it is a row itself."""
    if not isinstance(entry, dict):
        return []
    if (frame := _frame_rows(entry)) is not None:
        return frame
    inside = {key: value for key, value in entry.items() if isinstance(value, list) and value}
    named = [value for key, value in inside.items() if len(entry) == 1 or key.lower() in _AROUND]
    return named[0] if len(named) == 1 and all(isinstance(row, dict) for row in named[0]) else []


def _frame_rows(entry: dict[str, Any]) -> list[Any] | None:
    """Rows of one object as pandas writes a table unless told otherwise: by column, by row, or names and rows apart.

    >>> _frame_rows({"id": {"0": 7, "1": 8}, "title": {"0": "A", "1": "B"}})
    [{'id': 7, 'title': 'A'}, {'id': 8, 'title': 'B'}]
    """
    parts = list(entry.values())
    names, rows = entry.get("columns"), entry.get("data")
    if isinstance(names, list) and isinstance(rows, list) and all(isinstance(name, str) for name in names):
        fit = all(isinstance(row, list) and len(row) == len(names) for row in rows)
        return [dict(zip(names, row, strict=True)) for row in rows] if fit else None
    alike = all(isinstance(part, dict) and part.keys() == parts[0].keys() for part in parts)
    if not parts or not alike or not parts[0]:
        return None
    if all(key.isdecimal() for key in entry):
        return parts
    if all(key.isdecimal() for key in parts[0]):
        return [{name: part[row] for name, part in entry.items()} for row in parts[0]]
    return None


def cell_text(value: Any) -> str | None:
    """A JSON value as the text of a cell.

    >>> cell_text(136.0), cell_text(2**64), cell_text(["a"]), cell_text(True), cell_text(None)
    ('136', '18446744073709551616', '["a"]', 'true', None)
    """
    if value is None or isinstance(value, str):
        return None if value is None else whole_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list | tuple | dict | set):
        try:
            return whole_text(json.dumps(value, ensure_ascii=False, default=list))
        except _NO_OBJECT:  # keys that JSON knows nothing of
            return whole_text(repr(value))
    return str(value)


def _quick(piece: Piece, keys: Mapping[str, str]) -> pl.DataFrame | None:
    """The piece as polars reads it; None where a line is no JSON object, or text is not whole."""
    content = piece.content.rstrip(b"\n") + b"\n"
    if b"\r" in content.replace(b"\r\n", b"\n") or _holds_half(content):
        return None
    try:
        rows = pl.read_ndjson(io.BytesIO(content), schema=dict.fromkeys(keys.values(), pl.String))
    except PolarsError:
        return None
    if rows.height != content.count(b"\n"):
        return None
    rows.columns = list(keys)
    return numbered(rows, range(piece.first_line, piece.first_line + rows.height))


def _holds_half(content: bytes) -> bool:
    """Whether half of a surrogate pair stands in the text, which polars mangles."""
    if b"\\ud" not in content and b"\\uD" not in content:
        return False
    return _SURROGATE.search(_PAIR.sub(b"", content)) is not None


def _object(line: bytes, place: str) -> Mapping[str, Any]:
    entry = _read(line)
    if entry is None:
        raise DataError(
            f"{place}: {line.strip()[:60]!r} is no JSON object; write one object a line, or remove the line"
        )
    return entry


def _read(line: bytes) -> Mapping[str, Any] | None:
    """The object that a line is, as JSON or Python write it; None for anything else."""
    try:
        entry = json.loads(line)
    except _NO_OBJECT:
        try:
            entry = ast.literal_eval(line.decode("utf-8").strip())
        except _NO_OBJECT:
            return None
    return entry if isinstance(entry, dict) and all(isinstance(key, str) for key in entry) else None


def _frames(
    objects: Iterator[tuple[int, Mapping[str, Any]]], keys: Mapping[str, str]
) -> Iterator[pl.DataFrame]:
    while batch := list(islice(objects, _BATCH)):
        cells = {name: [cell_text(entry.get(key)) for _, entry in batch] for name, key in keys.items()}
        frame = pl.DataFrame([pl.Series(name, values, dtype=pl.String) for name, values in cells.items()])
        yield numbered(frame, [number for number, _ in batch])
