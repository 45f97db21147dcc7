"""What cells hold: ids, numbers, texts, lists of categories, years; from text or typed columns."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from deeprec.data.places import Place
from deeprec.data.times import NO_VALUE, without_missing
from deeprec.errors import DataError

# What stands for no category: in the data sets that people use, as software writes it, and as people do.
NO_CATEGORY = NO_VALUE | {
    *("unknown", "(unknown)", "(none)", "n.a.", "undefined", "not available", "not applicable", "uncategorized"),
    *("(no genres listed)", "no genres listed", "(no genre listed)", "no genre", "no genres", "no category"),
    *("-", "--", "\u2013", "\u2014", "?", "[]", "{}", "unbekannt", "keine", "k.a."),
}  # fmt: skip
DECIMAL_COMMA = r"^([+-]?\d+),(\d+)$"
_LARGEST_EXACT = 2**53  # from here on a float no longer holds every whole number
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_NUMPY = re.compile(rf"\[\s*(?:{_QUOTED})(?:\s+(?:{_QUOTED}))+\s*\]", re.DOTALL)
_WRAPPED = re.compile(r"^(?:array|list|set|frozenset|tuple)\((.*?)(?:,\s*dtype=\w+)?\)$", re.DOTALL)
_NAME_KEYS = ("name", "title", "label", "category", "genre", "description")  # of a category that is an object


def ids(values: pl.Series, place: str, name: str) -> pl.Series:
    """Ids as text: leading zeros stay, whole floats lose their point, large integers keep every digit.

    Empty ones are null. Raises DataError for lists and the like, and for floats so large
    that digits are lost.
    """
    if values.dtype.is_float():
        values = _whole_numbers(values, place, name)
    elif values.dtype.is_decimal():
        whole = values.cast(pl.Int128, strict=False)
        values = whole if (whole.cast(values.dtype, strict=False) == values).all() else values
    text = texts(values, place, name).str.strip_chars()
    return text.set(text == "", None)


def texts(values: pl.Series, place: str, name: str) -> pl.Series:
    """The column as text; raises DataError when it holds lists and the like."""
    if values.dtype.is_nested() or values.dtype in (pl.Object, pl.Duration):
        raise DataError(f"{place}: column {name} is {values.dtype}, expected text or numbers")
    try:
        return values.cast(pl.String)
    except PolarsError:
        raise DataError(
            f"{place}: column {name} is {values.dtype} that is no text; write it as text"
        ) from None


def changed(values: pl.Series, where: pl.Series, change: Callable[[str], str]) -> pl.Series:
    """The texts, those at `where` changed: a million that need no change cost nothing."""
    rows = where.arg_true()
    if not len(rows):
        return values
    return values.clone().scatter(rows, values.gather(rows).map_elements(change, return_dtype=pl.String))


def numbers(values: pl.Series, lines: pl.Series, place: Place, name: str) -> pl.Series:
    """The column as Float32; null where it says that there is no value; a decimal comma is understood, true is 1.

    Raises DataError naming the first line whose value is no number.
    """
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        values = values.cast(pl.String)
    if values.dtype != pl.String:
        if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)):
            raise DataError(f"{place}: column {name} is {values.dtype}, expected numbers")
        return values.cast(pl.Float32).fill_nan(None)  # pandas writes a missing number as NaN
    text = without_missing(values)
    found = text.cast(pl.Float32, strict=False)
    wrong = found.is_null() & text.is_not_null()
    if wrong.any():
        plain = text.str.replace(DECIMAL_COMMA, "$1.$2")
        plain = plain.str.replace(r"^[Tt]rue$|^TRUE$", "1").str.replace(r"^[Ff]alse$|^FALSE$", "0")
        found = plain.cast(pl.Float32, strict=False)
        wrong = found.is_null() & text.is_not_null()
    if wrong.any():
        at = wrong.arg_true()[0]
        raise DataError(
            f"{place.at(lines[at])}: {name} = {text[at][:60]!r} is not a number; correct the line"
        )
    return found.fill_nan(None)


def categories(
    values: pl.Series, separators: Iterable[str], place: str, tidy: Callable[[str], str] = str
) -> pl.Series:
    """Lists of category names, from lists in whatever form, or from text cut at the first separator that occurs.

    A cell may hold a list as JSON, Python or numpy write it; of objects the name counts.
    What says "none" (`(no genres listed)`, `unknown`) is no category. `tidy` is applied to
    each name.
    """
    if values.dtype.is_nested():
        found = [_clean(map(tidy, _flat(value))) for value in values.to_list()]
        return pl.Series(values.name, found, dtype=pl.List(pl.String))
    text = texts(values, place, "categories").fill_null("").str.strip_chars()
    unique = text.unique()
    plain = unique.filter(~unique.str.contains(r"^[\[({]|^\w+\(\["))
    separator = next((mark for mark in separators if plain.str.contains(mark, literal=True).any()), None)
    lists = [_clean(map(tidy, _listed(cell, separator))) for cell in unique.to_list()]
    known = pl.DataFrame({"text": unique, "lists": pl.Series(lists, dtype=pl.List(pl.String))})
    return text.to_frame("text").join(known, on="text", how="left", maintain_order="left")["lists"]


def _whole_numbers(values: pl.Series, place: str, name: str) -> pl.Series:
    values = values.cast(pl.Float64).fill_nan(None)
    lossy = values.filter(values.abs() > _LARGEST_EXACT)
    if len(lossy):
        raise DataError(
            f"{place}: column {name} is {values.dtype} beyond 2^53 ({lossy[0]:.0f}), where digits are lost; "
            "write these ids as text or integers"
        )
    return values.cast(pl.Int64) if (values == values.floor()).all() else values


def _listed(cell: str, separator: str | None) -> list[str]:
    """Names in one cell of text."""
    if cell.casefold() in NO_CATEGORY:  # before it is cut: "N/A" at "/"
        return []
    wrapped = _WRAPPED.match(cell)
    inner = wrapped.group(1) if wrapped else cell
    if inner[:1] in ("[", "(", "{") and inner[-1:] in ("]", ")", "}"):
        value = _literal(inner)
        if value is not None:
            return _flat(value)
        if (
            inner[0] != "("
        ):  # as Java and Scala write lists, or PostgreSQL its arrays: quotes where they are needed
            return _loosely_listed(inner[1:-1])
    return cell.split(separator) if separator else [cell]


def _loosely_listed(inside: str) -> list[str]:
    """Names separated by commas, some of them in quotes.

    >>> _loosely_listed('Drama, "War, Peace"'), _loosely_listed("None, 'Drama'")
    (['Drama', 'War, Peace'], ['None', 'Drama'])
    """
    quote = next((mark for mark in "\"'" if re.search(rf"(^|,)\s*{mark}", inside)), '"')
    line = inside.replace("\r", " ").replace("\n", " ")
    reader = csv.reader([line], quotechar=quote, escapechar="\\", skipinitialspace=True)
    return [name for row in reader for name in row]


def _literal(text: str) -> Any:
    """The value that a list in a cell stands for; None when it is no list."""
    if _NUMPY.fullmatch(text):  # numpy puts no commas: Python would join the strings
        return [str(ast.literal_eval(quoted)) for quoted in re.findall(_QUOTED, text)]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
    return value if isinstance(value, list | tuple | set | dict) else None


def _flat(value: Any) -> list[str]:
    """Names in a value, in order: of nested lists all, of an object its name, of a counting object its keys.

    >>> _flat([{"id": 1, "name": "Drama"}, ["War"]]), _flat({"history, biography": 3})
    (['Drama', 'War'], ['history, biography'])
    """
    if value is None:
        return []
    if isinstance(value, dict):
        named = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
        return [named] if named is not None else [str(key) for key in value]
    if isinstance(value, list | tuple | set):
        return [name for entry in value for name in _flat(entry)]
    return [str(value)]


def _clean(names: Iterable[str]) -> list[str]:
    stripped = (name.strip() for name in names)
    return [name for name in stripped if name.casefold() not in NO_CATEGORY]
