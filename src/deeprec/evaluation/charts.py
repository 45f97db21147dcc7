"""Two kinds of static chart as inline SVG: lines and bars.

Colours are CSS classes (`s0` to `s7`) that the page defines for light and dark; everything
written into a chart is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 210
SPARK_WIDTH, SPARK_HEIGHT = 120, 28
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 30
_COLOURS = 8


@dataclass(frozen=True)
class Series:
    """One line: points in order of x, and its name in the legend. Points that are not finite leave a gap."""

    name: str
    points: tuple[tuple[float, float], ...]


def line_chart(
    series: Sequence[Series],
    x_label: str,
    description: str,
    boundaries: Sequence[tuple[float, str]] = (),
    zero: bool = False,
) -> Markup:
    """Lines over a common x axis, with dashed vertical `boundaries` (x, text) and a legend.

    `zero` forces 0 onto the y axis. Without a finite point: a line of text instead.
    """
    finite = [(x, y) for line in series for x, y in line.points if math.isfinite(y)]
    if not finite:
        return Markup('<p class="none">{}</p>').format("Nothing was logged.")
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    x_ticks = ticks(min(xs), max(xs), whole=True)
    y_ticks = ticks(min([*ys, 0.0] if zero else ys), max([*ys, 0.0] if zero else ys))
    x_range = (min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1)
    y_range = (y_ticks[0], y_ticks[-1])
    parts = [_grid(x_ticks, y_ticks, x_range, y_range, x_label)]
    for x, text in boundaries:
        place = _x(x, x_range)
        parts.append(
            Markup(
                '<line class="edge" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
                '<text class="edge-text" x="{3}" y="{4}">{5}</text>'
            ).format(_n(place), _TOP, HEIGHT - _BOTTOM, _n(place + 3), _TOP + 9, text)
        )
    for number, line in enumerate(series):
        parts.append(_line(line, number, x_range, y_range))
    return _svg(parts, description) + _legend([line.name for line in series])


def spark_line(points: Sequence[tuple[float, float]], description: str) -> Markup:
    """A small line without axes, for a cell of a table; points that are not finite leave a gap."""
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    if not finite:
        return Markup("-")
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    wide, high = max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0
    runs: list[list[str]] = [[]]
    for x, y in points:
        if math.isfinite(y):
            across = 3 + (x - min(xs)) / wide * (SPARK_WIDTH - 6)
            down = SPARK_HEIGHT - 3 - (y - min(ys)) / high * (SPARK_HEIGHT - 6)
            runs[-1].append(f"{_n(across)},{_n(down)}")
        elif runs[-1]:
            runs.append([])
    strokes = [
        Markup('<polyline class="line s0" points="{}"/>').format(" ".join(run))
        for run in runs
        if len(run) > 1
    ]
    last = next(run for run in reversed(runs) if run)[-1].split(",")
    dot = Markup('<circle class="dot s0" cx="{}" cy="{}" r="2.2"/>').format(*last)
    return Markup('<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        SPARK_WIDTH, SPARK_HEIGHT, description, Markup("").join([*strokes, dot])
    )


def bar_chart(bars: Sequence[tuple[str, float]], x_label: str, description: str) -> Markup:
    """Vertical bars (label, height >= 0) with their values on top."""
    if not bars:
        return Markup('<p class="none">{}</p>').format("Nothing to show.")
    y_ticks = ticks(0.0, max(height for _, height in bars))
    y_range = (0.0, y_ticks[-1])
    step = (WIDTH - _LEFT - _RIGHT) / len(bars)
    parts = [_grid((), y_ticks, (0, 1), y_range, x_label)]
    for number, (label, height) in enumerate(bars):
        left = _LEFT + number * step + step * 0.14
        top = _y(height, y_range)
        middle = left + step * 0.36
        parts.append(
            Markup(
                '<rect class="bar" x="{}" y="{}" width="{}" height="{}"/>'
                '<text class="value" x="{}" y="{}">{}</text><text class="tick-x" x="{}" y="{}">{}</text>'
            ).format(
                _n(left), _n(top), _n(step * 0.72), _n(HEIGHT - _BOTTOM - top),
                _n(middle), _n(top - 3), number_text(height), _n(middle), HEIGHT - _BOTTOM + 12, label,
            )
        )  # fmt: skip
    return _svg(parts, description)


def ticks(low: float, high: float, whole: bool = False) -> tuple[float, ...]:
    """Three to six round numbers that span [low, high]; whole ones if asked.

    >>> ticks(0, 1)
    (0.0, 0.25, 0.5, 0.75, 1.0)
    >>> ticks(-1e-13, 2e-13)
    (-1e-13, 0.0, 1e-13, 2e-13)
    """
    largest = max(abs(low), abs(high))
    if high - low <= 1e-9 * largest:  # no digits of the numbers' own tell them apart
        margin = largest * 0.1
        low, high = (low - margin, high + margin) if margin else (0.0, 1.0)
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, 3 - math.floor(math.log10(step)))  # of a step, however small the numbers are
    return tuple(round(i * step, digits) for i in range(first, last + 1))


def number_text(value: float) -> str:
    """A figure as short as an axis needs it."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.3g}"


def _grid(
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_label: str,
) -> Markup:
    parts = []
    for value in y_ticks:
        y = _y(value, y_range)
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/><text class="tick-y" x="{}" y="{}">{}</text>'
            ).format(_LEFT, WIDTH - _RIGHT, _LEFT - 5, _n(y + 3), number_text(value), y=_n(y))
        )
    for value in x_ticks:
        if x_range[0] <= value <= x_range[1]:
            parts.append(
                Markup('<text class="tick-x" x="{}" y="{}">{}</text>').format(
                    _n(_x(value, x_range)), HEIGHT - _BOTTOM + 12, number_text(value)
                )
            )
    label = Markup('<text class="label" x="{}" y="{}">{}</text>').format(
        (_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 4, x_label
    )
    return Markup("").join([*parts, label])


def _line(line: Series, number: int, x_range: tuple[float, float], y_range: tuple[float, float]) -> Markup:
    """One stroke for each run of finite points; a lone point is drawn as a dot."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in line.points:
        if math.isfinite(y):
            runs[-1].append((_x(x, x_range), _y(y, y_range)))
        elif runs[-1]:
            runs.append([])
    colour = f"s{number % _COLOURS}"
    parts = []
    for run in runs:
        if len(run) > 1:
            path = " ".join(f"{_n(x)},{_n(y)}" for x, y in run)
            parts.append(Markup('<polyline class="line {}" points="{}"/>').format(colour, path))
        if len(run) == 1 or 1 < len(run) <= 12:
            parts += [
                Markup('<circle class="dot {}" cx="{}" cy="{}" r="2.2"/>').format(colour, _n(x), _n(y))
                for x, y in run
            ]
    return Markup("").join(parts)


def _svg(parts: Sequence[Markup], description: str) -> Markup:
    body = Markup("").join(parts)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, description, body
    )


def _legend(names: Sequence[str]) -> Markup:
    if len(names) < 2:
        return Markup("")
    entries = [
        Markup('<span><i class="key s{}"></i>{}</span>').format(number % _COLOURS, escape(name))
        for number, name in enumerate(names)
    ]
    return Markup('<div class="legend">{}</div>').format(Markup("").join(entries))


def _x(value: float, span: tuple[float, float]) -> float:
    return _LEFT + (value - span[0]) / (span[1] - span[0]) * (WIDTH - _LEFT - _RIGHT)


def _y(value: float, span: tuple[float, float]) -> float:
    return HEIGHT - _BOTTOM - (value - span[0]) / (span[1] - span[0]) * (HEIGHT - _TOP - _BOTTOM)


def _n(value: float) -> str:
    return f"{value:.1f}"
