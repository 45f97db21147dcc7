"""Times as people write them, as Unix seconds: what is plausible is said here and nowhere else.

`check_seconds` judges one value that claims to be Unix seconds, e.g. a field of a request.
`TimeColumn` reads a column of unknown kind: it decides once for the whole column, converts,
and says what it took the values for, or names the first line that does not fit the others.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import polars as pl

from deeprec.data.dates import DATE_FORMS, custom_form, guess_form
from deeprec.data.places import Place
from deeprec.errors import DataError

_DAY = 86_400
_YEAR = 365.2425 * _DAY  # the mean of the calendar
# How many of each unit make a second. A value is taken for the coarsest unit that it is plausible in.
_UNITS = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
_FINEST_FROM = (
    1e8  # seconds: 1973. Numbers in finer units begin there, so that no range belongs to two units.
)
# Digits of dates written as one number: 20200131, 202001311230, 20200131123059.
_COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
NO_VALUE = frozenset({"", "nan", "nat", "none", "null", "na", "n/a", "<na>", "\\n"})  # as software writes it


@dataclass(frozen=True, slots=True)
class Moments:
    """A column as Unix seconds (Float64, null where there is no time), and what its values were taken for."""

    seconds: pl.Series
    kind: str  # e.g. "seconds", "milliseconds", "dates such as 2020-01-31"


def latest_seconds() -> float:
    """The latest plausible time: ten years after tomorrow."""
    return time.time() + _DAY + 10 * _YEAR


def check_seconds(value: float) -> None:
    """Raise DataError unless `value` is a plausible time in seconds since 1970.

    Plausible is 1970 to ten years after tomorrow. The message says what the value looks
    like and what to do, not where it stands: the caller knows the place.

    >>> check_seconds(1_600_000_000)
    """
    problem = _problem(value)
    if problem is not None:
        raise DataError(problem)


def day_of(seconds: float) -> str:
    """The day (UTC) of a time, also where it lies beyond the calendar of `datetime`.

    >>> day_of(1_600_000_000), day_of(1.6e12)
    ('2020-09-13', 'the year 52671')
    """
    if not math.isfinite(seconds):
        return "no day"
    if -62_135_596_800 <= seconds < 253_402_300_800:  # years 1 to 9999
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%d")
    return f"the year {1970 + math.floor(seconds / _YEAR)}"


class TimeColumn:
    """Reads a column of times piece by piece: `add` each piece, then `finish` the whole.

    The first piece that holds a value decides how text is written. `form` is a `strptime`
    pattern that the user named; it leaves nothing to guess. `lines` and `place` say in
    errors where a value stands.
    """

    def __init__(self, name: str = "timestamp", form: str | None = None) -> None:
        self._name = name
        self._form = custom_form(form) if form else None
        self._are_numbers: bool | None = False if form else None

    def add(self, values: pl.Series, lines: pl.Series, place: Place) -> pl.Series:
        """A piece as Float64: seconds if the values are dates, else the numbers as they stand.

        Raises DataError naming the first line whose value is neither.
        """
        column = _Column(self._name, values, lines, place)
        if values.dtype.is_temporal():
            return self._temporal(column)
        if values.dtype == pl.String or values.dtype == pl.Categorical:
            return self._text(replace(column, values=without_missing(values.cast(pl.String))))
        if values.dtype == pl.Null:
            return values.cast(pl.Float64)
        if not values.dtype.is_numeric():
            raise column.unfit("expected dates, or seconds since 1970")
        if self._are_numbers is False:
            raise column.unfit("but dates in another file of this table; write them alike")
        self._are_numbers = True
        return values.cast(pl.Float64).fill_nan(None)  # pandas writes a missing time as NaN

    def finish(self, values: pl.Series, lines: pl.Series, place: Place) -> Moments:
        """The whole column (what `add` returned, joined) as seconds; decides the unit of numbers.

        Raises DataError naming the first line whose value is not plausible, or not in the
        unit of the others.
        """
        column = _Column(self._name, values, lines, place)
        column.refuse(values.is_infinite(), "is not a finite number")
        if self._are_numbers is not True:
            column.check_range(values)
            return Moments(values, f"dates such as {self._form.example}" if self._form else "dates")
        compact = _compact_dates(values)
        if compact is not None:
            column.check_range(compact)
            return Moments(compact, "dates written as one number")
        unit = _unit(column)
        return Moments(values / _UNITS[unit] if unit != "seconds" else values, unit)

    def _temporal(self, column: _Column) -> pl.Series:
        if column.values.dtype == pl.Duration:
            raise column.unfit("a span of time; write dates, or seconds since 1970")
        if column.values.dtype == pl.Time:
            raise column.unfit("a time of day without a date; write dates, or seconds since 1970")
        self._are_numbers = False
        return column.values.dt.epoch("us").cast(pl.Float64) / 1e6

    def _text(self, column: _Column) -> pl.Series:
        known = column.values.drop_nulls()
        if self._are_numbers is None and len(known):
            self._are_numbers = _is_number(known[0])
            if not self._are_numbers:
                self._form = guess_form(known, f"{column.place}: column {self._name}")
        if self._are_numbers or not len(known):
            numbers = column.values.cast(pl.Float64, strict=False)
            wanted = "is no number; times are seconds, or ISO dates such as 2024-05-31"
        else:
            form = self._form or DATE_FORMS[0]
            numbers = form.seconds(column.values)
            wanted = f"is no {form.name} such as {form.example}"
        wrong = numbers.is_null() & column.values.is_not_null()
        column.refuse(wrong, wanted, "correct the line, or say how times are written with data.time_format")
        return numbers


@dataclass(frozen=True, slots=True)
class _Column:
    """A column, or a piece of one, and where its values stand."""

    name: str
    values: pl.Series
    lines: pl.Series
    place: Place

    def refuse(self, wrong: pl.Series, problem: str, remedy: str = "correct or remove the line") -> None:
        """Raise DataError naming the first value that is wrong."""
        if wrong.any():
            at = wrong.arg_true()[0]
            value = self.values[at]
            shown = f"= {value[:60]!r}" if isinstance(value, str) else _shown(value)
            raise DataError(f"{self.place.at(self.lines[at])}: {self.name} {shown} {problem}; {remedy}")

    def unfit(self, problem: str) -> DataError:
        """The error that nothing in this column can be a time."""
        return DataError(f"{self.place}: column {self.name} is {self.values.dtype}, {problem}")

    def check_range(self, seconds: pl.Series) -> None:
        """Refuse what is not between 1970 and ten years from now."""
        wrong = (seconds < 0) | (seconds > latest_seconds())
        if wrong.any():
            at = wrong.arg_true()[0]
            raise DataError(
                f"{self.place.at(self.lines[at])}: {self.name} lies in {day_of(seconds[at])}; "
                "expected 1970 to ten years from now; correct or remove the line"
            )


def _unit(column: _Column) -> str:
    """The unit of the numbers: the one in which all are plausible (zero is in each)."""
    values = column.values
    column.refuse(values < 0, "is negative; times are seconds since 1970")
    largest = values.max()
    if not isinstance(largest, float):
        return "seconds"
    unit = _unit_of(largest)
    if unit is None:
        column.refuse(values == largest, f"lies in {day_of(largest)}; times are seconds since 1970")
    assert unit is not None
    if unit != "seconds":
        _refuse_others(column, unit)
    return unit


def _refuse_others(column: _Column, unit: str) -> None:
    """Raise DataError naming the first number that is not in this unit, or if those are the most, the first that is."""
    values, remedy = column.values, "write all in one unit; correct or remove the line"
    coarser = (values != 0) & (values < _FINEST_FROM * _UNITS[unit])
    finer = (values != 0) & ~coarser
    if not finer.any():  # too late for seconds, too early for anything else
        latest = values.max()
        column.refuse(values == latest, f"lies in {day_of(latest)}; times are seconds since 1970")  # type: ignore[arg-type]
    if coarser.sum() > finer.sum():
        usual = _unit_of(values.filter(coarser).median())  # type: ignore[arg-type]
        column.refuse(finer, f"is not in {usual}, as most others are", remedy)
    column.refuse(coarser, f"is not in {unit}, as the others are", remedy)


def without_missing(values: pl.Series) -> pl.Series:
    """Text without the space around it; null where it says that there is no value (NaN, None, NULL, ...)."""
    stripped = values.str.strip_chars()
    return stripped.set(stripped.str.to_lowercase().is_in(list(NO_VALUE)), None)


def _problem(value: float) -> str | None:
    if not math.isfinite(value):
        return f"{value} is not a finite number; times are seconds since 1970"
    if value < 0:
        return f"{_shown(value)} is negative; times are seconds since 1970"
    if value <= latest_seconds():
        return None
    unit = _unit_of(value)
    looks = f" (it looks like {unit}: divide by {_UNITS[unit]:,})" if unit else ""
    return f"{_shown(value)} lies in {day_of(value)}; times are seconds since 1970{looks}"


def _unit_of(value: float) -> str | None:
    limit = latest_seconds()
    return next((unit for unit, parts in _UNITS.items() if value <= limit * parts), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _compact_dates(values: pl.Series) -> pl.Series | None:
    """Seconds, if every number is a calendar date written as one number, such as 20200131."""
    known = values.drop_nulls()
    digits = len(f"{known[0]:.0f}") if len(known) else 0
    if digits not in _COMPACT or known.min() < 19_700_101 or (known != known.floor()).any():  # type: ignore[operator]
        return None
    if known.max() > float("2200" + "9" * (digits - 4)):  # type: ignore[operator]
        return None
    if known.min() < float("1970" + "0" * (digits - 4)):  # type: ignore[operator]
        return None
    form = _COMPACT[digits]
    text = values.cast(pl.Int64).cast(pl.String)
    dates = text.str.strptime(pl.Date, form, strict=False) if digits == 8 else None
    stamps = dates if dates is not None else text.str.strptime(pl.Datetime("us"), form, strict=False)
    if stamps.null_count() != values.null_count():
        return None
    return stamps.dt.epoch("us").cast(pl.Float64) / 1e6


def _shown(value: float) -> str:
    return f"{value:.0f}" if abs(value) < 1e18 and value == math.floor(value) else f"{value:g}"
