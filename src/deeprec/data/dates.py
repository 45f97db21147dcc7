"""How dates are written: ISO, German, with slashes or names of months, or by a pattern; text to Unix seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from deeprec.errors import ConfigError, DataError

_CLOCK = (
    r"(?:(?:\s*[Tt,]\s*|,?\s+(?:at|um)\s+|\s+)(?<H>\d{1,2}):?(?<M>\d{2})(?::?(?<S>\d{2})(?:[.,](?<f>\d{1,12}))?)?"
    r"\s*(?<p>[AaPp]\.?[Mm]\.?)?(?:\s*Uhr)?)?"
)
_ANY_ZONE = r"(?<z>Z|z|UTC|utc|GMT|gmt|[+\u{2212}-]\d{2}(?::?\d{2})?)"  # the minus of typographers, too
_ZONE = rf"\s*{_ANY_ZONE}?"
_PIECES = ("Y", "m", "b", "d", "H", "M", "S", "f", "p", "z")
# The first letters of months, in English and German.
_MONTH_NAMES = (
    "jan", "feb", "mar mär mrz", "apr", "may mai", "jun", "jul", "aug", "sep", "oct okt", "nov", "dec dez",
)  # fmt: skip
_MONTHS = {name: f"{number}" for number, names in enumerate(_MONTH_NAMES, 1) for name in names.split()}


@dataclass(frozen=True, slots=True)
class DateForm:
    """One way to write dates: a pattern with the groups Y m (b: by name) d H M S f p z, or one for `strptime`.

    `layouts`: what most files of this form hold, for `strptime`; read fifty times faster than a pattern.
    """

    name: str
    example: str
    pattern: str
    by_strptime: bool = False
    layouts: tuple[str, ...] = ()

    def seconds(self, text: pl.Series) -> pl.Series:
        """Unix seconds (UTC where no zone is written); null where the text is not of this form."""
        if self.by_strptime:
            return _by_strptime(text, self.pattern)
        usual = _usual(text, self.layouts)
        return _by_groups(text, self.pattern) if usual is None else usual


def _form(name: str, example: str, date: str, layouts: tuple[str, ...] = ()) -> DateForm:
    return DateForm(name, example, f"^{date}{_CLOCK}{_ZONE}$", layouts=layouts)


_ISO = _form(
    "ISO date",
    "2024-05-31 or 2024-05-31T10:00:00Z",
    r"(?<Y>\d{4})[-/.](?<m>\d{1,2})[-/.](?<d>\d{1,2})",
    ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S%.f"),
)
_BASIC = _form("ISO date", "20240531T100000Z", r"(?<Y>\d{4})(?<m>\d{2})(?<d>\d{2})")
_GERMAN = _form("date", "31.05.2024", r"(?<d>\d{1,2})\.(?<m>\d{1,2})\.(?<Y>\d{4})")
_DAY_FIRST = _form("date, day first,", "31/05/2024", r"(?<d>\d{1,2})[-/](?<m>\d{1,2})[-/](?<Y>\d{4})")
_WEEKDAY, _NAME, _DAY = (
    r"(?:[A-Za-z]{2,9}\.?,?\s+)?", r"(?<b>[A-Za-zäÄ]{3,9})\.?", r"(?<d>\d{1,2})(?:st|nd|rd|th)?"
)  # fmt: skip
_DAY_NAMED = _form("date", "31 May 2024", rf"{_WEEKDAY}{_DAY}[\s.-]+{_NAME},?[\s-]+(?<Y>\d{{4}})")
_NAMED_DAY = _form("date", "May 31, 2024", rf"{_WEEKDAY}{_NAME}\s+{_DAY},?\s+(?<Y>\d{{4}})")
_YEAR_LAST = DateForm(
    "date",
    "Fri May 31 10:00:00 2024",
    rf"^{_WEEKDAY}{_NAME}\s+{_DAY}\s+(?<H>\d{{1,2}}):(?<M>\d{{2}}):(?<S>\d{{2}})\s+(?:{_ANY_ZONE}\s+)?(?<Y>\d{{4}})$",
    layouts=("%a %b %d %H:%M:%S %z %Y",),
)
_MONTH_FIRST = _form("date, month first,", "05/31/2024", r"(?<m>\d{1,2})[-/](?<d>\d{1,2})[-/](?<Y>\d{4})")
DATE_FORMS = (_ISO, _BASIC, _GERMAN, _DAY_NAMED, _NAMED_DAY, _YEAR_LAST)


def custom_form(pattern: str) -> DateForm:
    """The form of a `strptime` pattern; raises ConfigError when it can't be one."""
    if "%" not in pattern:
        raise ConfigError(
            f"data.time_format = '{pattern}': is no strptime pattern such as '%d.%m.%Y %H:%M'; see docs/data.md"
        )
    return DateForm("date", f"'{pattern}'", pattern, by_strptime=True)


def guess_form(texts: pl.Series, place: str) -> DateForm:
    """The form that all `texts` have; ISO where none fits, so that its error is the one shown.

    Raises DataError where day and month can't be told apart.
    """
    sample = texts.head(100_000)
    for form in DATE_FORMS:
        if form.seconds(sample.head(1)).null_count() == 0:
            return form
    fitting = [form for form in (_DAY_FIRST, _MONTH_FIRST) if form.seconds(sample).null_count() == 0]
    if len(fitting) == 2:
        raise DataError(
            f"{place}: {sample[0]!r} may be day/month or month/day, and no line tells which; "
            "say it with data.time_format, e.g. '%d/%m/%Y'"
        )
    return fitting[0] if fitting else _ISO


def _usual(text: pl.Series, layouts: tuple[str, ...]) -> pl.Series | None:
    """Seconds, if one usual layout fits all; else None."""
    for layout in layouts:
        stamps = _by_strptime(text, layout)
        if stamps.null_count() == text.null_count():
            return stamps
        if stamps.null_count() < len(text):
            return None  # several layouts in one column
    return None


def _by_groups(text: pl.Series, pattern: str) -> pl.Series:
    frame = text.str.extract_groups(pattern).struct.unnest()
    blank = [pl.lit(None, dtype=pl.String).alias(name) for name in _PIECES if name not in frame.columns]
    return frame.select(*[pl.col(name) for name in frame.columns], *blank).select(_seconds()).to_series()


def _seconds() -> pl.Expr:
    """From the columns of `_PIECES`; null where there is no such day or time of day."""
    named = pl.col("b").str.to_lowercase().str.head(3).replace_strict(_MONTHS, default=None)
    month = pl.coalesce(pl.col("m"), named)
    day = pl.concat_str(pl.col("Y"), month.str.zfill(2), pl.col("d").str.zfill(2)).str.to_date(
        "%Y%m%d", strict=False
    )
    hour, minute, second = (pl.col(name).fill_null("0").cast(pl.Int64) for name in "HMS")
    half = pl.col("p").str.to_lowercase().str.head(1)
    hour = pl.when(half == "p").then(hour % 12 + 12).when(half == "a").then(hour % 12).otherwise(hour)
    fraction = pl.concat_str(pl.lit("0."), pl.col("f").fill_null("0")).cast(pl.Float64)
    clock = (hour * 60 + minute) * 60 + second + fraction
    valid = (hour < 24) & (minute < 60) & (second <= 60)  # 60: a leap second
    return pl.when(valid).then(day.dt.epoch("d").cast(pl.Float64) * 86_400 + clock - _offset())


def _offset() -> pl.Expr:
    """Seconds that the zone is ahead of UTC."""
    digits = pl.col("z").str.replace_all(r"[^0-9]", "").str.pad_end(4, "0")
    minutes = digits.str.head(2).cast(pl.Int64, strict=False) * 60 + digits.str.tail(2).cast(
        pl.Int64, strict=False
    )
    sign = pl.when(pl.col("z").str.starts_with("+")).then(1).otherwise(-1)
    numbered = pl.col("z").str.contains(r"^[^A-Za-z]")
    return pl.when(numbered).then(sign * minutes * 60).otherwise(0).fill_null(0)


def _by_strptime(text: pl.Series, pattern: str) -> pl.Series:
    zoned = re.search(r"%[:#]*z", pattern) is not None
    clock = re.search(r"%[HIMSTRfsXc]", pattern) is not None
    try:
        if not clock:
            return text.str.strptime(pl.Date, pattern, strict=False).dt.epoch("us").cast(pl.Float64) / 1e6
        kind = pl.Datetime("us", "UTC") if zoned else pl.Datetime("us")
        return text.str.strptime(kind, pattern, strict=False).dt.epoch("us").cast(pl.Float64) / 1e6
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"data.time_format = '{pattern}': {error}; see docs/data.md") from None
