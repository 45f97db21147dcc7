"""Times: units, ways to write dates, and what is not plausible."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from deeprec.data.places import Place
from deeprec.data.times import Moments, TimeColumn, check_seconds, day_of, latest_seconds
from deeprec.errors import ConfigError, DataError

PLACE = Place("f.csv")
DAY = 1_580_428_800.0  # 2020-01-31 00:00 UTC


def read(values: object, form: str | None = None) -> Moments:
    """A column of one piece whose lines count from 2."""
    column, series = TimeColumn(form=form), pl.Series(values, strict=False)
    lines = pl.Series(range(2, 2 + len(series)))
    return column.finish(column.add(series, lines, PLACE), lines, PLACE)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (DAY, "seconds"),
        (DAY * 1e3, "milliseconds"),
        (DAY * 1e6, "microseconds"),
        (DAY * 1e9, "nanoseconds"),
        (20200131, "dates written as one number"),
        (202001310000, "dates written as one number"),
        (20200131000000, "dates written as one number"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_numbers_in_each_unit(value: float, kind: str, as_text: bool) -> None:
    found = read([f"{value:.0f}" if as_text else value])
    assert (found.seconds.to_list(), found.kind) == ([DAY], kind)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("2020-01-31", 0),
        (" 2020-1-31 ", 0),
        ("2020/01/31", 0),
        ("2020-01-31T11:27", 41220),
        ("2020-01-31T11:27+00:00", 41220),
        ("2020-01-31 11:27:05 UTC", 41225),
        ("2020-01-31 11:27:05Z", 41225),
        ("2020-01-31t11:27:05z", 41225),
        ("2020-01-31 11:27:05.250000", 41225.25),
        ("2020-01-31 11:27:05,250000000", 41225.25),
        ("2020-01-31T12:57:05+01:30", 41225),
        ("2020-01-31T12:57:05+0130", 41225),
        ("2020-01-31 09:27:05 -02", 41225),
        ("20200131T112705Z", 41225),
        ("31.01.2020", 0),
        ("31.1.2020 11:27", 41220),
        ("31/01/2020", 0),
        ("01/31/2020 11:27:05 AM", 41225),
        ("1/31/2020 12:00:05 am", 5),
    ],
)
def test_dates_as_people_write_them(text: str, after: float) -> None:
    assert read([text, None]).seconds.to_list() == [DAY + after, None]


def test_a_weekday_that_is_another_is_no_matter() -> None:
    assert read(["Fri Jan 31 00:00:00 +0000 2020", "Mon Jan 31 00:00:00 +0000 2020"]).seconds.to_list() == [
        DAY,
        DAY,
    ]


def test_one_column_may_mix_ways_of_iso() -> None:
    found = read(["2020-01-31", "2020-01-31T00:00:01Z", "2020-01-31 00:00:02.5"])
    assert found.seconds.to_list() == [DAY, DAY + 1, DAY + 2.5]


@pytest.mark.parametrize("missing", [None, "", " ", "NaN", "NaT", "None", "NULL", "<NA>", "\\N"])
def test_missing_values_stay_missing(missing: str | None) -> None:
    assert read(["2020-01-31", missing]).seconds.to_list() == [DAY, None]
    assert read([missing, missing]).seconds.to_list() == [None, None]
    assert read([DAY, float("nan")]).seconds.to_list() == [DAY, None]


def test_columns_with_a_type() -> None:
    assert read([date(2020, 1, 31)]).seconds.to_list() == [DAY]
    there = pl.Series([datetime(2020, 1, 31, tzinfo=UTC)]).dt.convert_time_zone("Asia/Tokyo")
    assert read(there).seconds.to_list() == [DAY]
    assert read(pl.Series([datetime(2020, 1, 31)], dtype=pl.Datetime("ns"))).seconds.to_list() == [DAY]
    for values in ([timedelta(1)], [True], [[1]], [b"x"]):
        with pytest.raises(DataError, match=r"f\.csv: column timestamp is .*dates, or seconds since 1970"):
            read(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([DAY, DAY * 1e3], r"line 2: timestamp 1580428800 is not in milliseconds"),
        ([DAY * 1e3, DAY * 1e6], r"line 2: .* is not in microseconds"),
        ([DAY, DAY * 1e3, DAY], r"line 3: timestamp 1580428800000 is not in seconds, as most others are"),
        ([DAY * 1e9, DAY * 1e6, DAY * 1e9], r"line 3: timestamp 1580428800000000 is not in nanoseconds"),
        ([DAY, 9999999999, DAY], r"line 3: timestamp 9999999999 lies in 2286-11-20; times are seconds"),
        ([DAY, 1e20], r"line 3: timestamp 1e\+20 lies in the year 31688"),
        ([DAY, -1], r"line 3: timestamp -1 is negative"),
        ([DAY, float("inf")], r"line 3: timestamp inf is not a finite number"),
        (["2020-01-31", "2020-02-30"], r"line 3: timestamp = '2020-02-30' is no ISO date"),
        (["2020-01-31", "1969-12-31"], r"line 3: timestamp lies in 1969-12-31; expected 1970 to"),
        (["2020-01-31", "9999-12-31"], r"line 3: timestamp lies in 9999-12-31"),
        (["2020-01-31", "yesterday"], r"line 3: timestamp = 'yesterday' is no ISO date.*time_format"),
        (["1580428800", "2020-01-31"], r"line 3: timestamp = '2020-01-31' is no number"),
        (["2020-01-31T25:00"], r"line 2: timestamp = '2020-01-31T25:00' is no ISO date"),
        (["01/02/2020", "03/02/2020"], r"'01/02/2020' may be day/month or month/day.*data\.time_format"),
    ],
)
def test_refusals_name_line_and_value(values: list[object], message: str) -> None:
    with pytest.raises(DataError, match=r"^f\.csv.*" + message):
        read(values)


def test_zero_fits_every_unit_and_small_counters_stay() -> None:
    assert read([0, DAY * 1e3]).seconds.to_list() == [0, DAY]
    assert read([1, 2, 30]).seconds.to_list() == [1, 2, 30]
    assert read([20200131, 20200231]).kind == "seconds"  # there is no 31 February: no dates


def test_a_pattern_of_the_users() -> None:
    assert read(["Fri Jan 31 00:16:46 -0800 2020"], "%a %b %d %H:%M:%S %z %Y").seconds.to_list() == [
        DAY + 30_000 - 194
    ]
    assert read(["01/02/2020"], "%d/%m/%Y").seconds.to_list() == [DAY + 86_400]
    with pytest.raises(DataError, match=r"line 2: timestamp = 'x' is no date such as '%d/%m/%Y'"):
        read(["x"], "%d/%m/%Y")
    with pytest.raises(ConfigError, match=r"data\.time_format = 'iso': is no strptime pattern"):
        read(["x"], "iso")


def test_pieces_share_one_decision() -> None:
    column = TimeColumn()
    first = column.add(pl.Series([None, None], dtype=pl.String), pl.Series([2, 3]), PLACE)
    second = column.add(pl.Series(["2020-01-31"]), pl.Series([4]), PLACE)
    whole = column.finish(pl.concat([first, second]), pl.Series([2, 3, 4]), PLACE)
    assert whole.seconds.to_list() == [None, None, DAY]
    with pytest.raises(DataError, match="line 5: timestamp = '7' is no ISO date"):
        column.add(pl.Series(["7"]), pl.Series([5]), PLACE)
    with pytest.raises(DataError, match="column timestamp is Int64, but dates in another file"):
        column.add(pl.Series([7]), pl.Series([1]), PLACE)


@pytest.mark.parametrize("value", [0, 1, DAY, pytest.param(latest_seconds() - 60, id="latest")])
def test_plausible_seconds(value: float) -> None:
    check_seconds(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (DAY * 1e3, r"1580428800000 lies in the year 52051; .*looks like milliseconds: divide by 1,000\)"),
        (DAY * 1e9, "looks like nanoseconds"),
        pytest.param(latest_seconds() + 86_400, "times are seconds since 1970", id="too late"),
        (-1, "-1 is negative"),
        (float("nan"), "nan is not a finite number"),
        (1e30, "lies in the year"),
    ],
)
def test_implausible_seconds(value: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_seconds(value)


def test_days_beyond_the_calendar() -> None:
    assert day_of(DAY) == "2020-01-31"
    assert day_of(-1) == "1969-12-31"
    assert day_of(float("inf")) == "no day"
