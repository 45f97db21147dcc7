"""A picture of the protocol of simulated wishes as an SVG file: each kind a row, each method a dot at its NDCG@10."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from deeprec.evaluation.charts import number_text, ticks
from deeprec.evaluation.wishes import WishFigures, label_of

_WIDTH, _ROW, _LEGEND, _BOTTOM = 760, 26, 20, 34
_START, _END = 120, 720  # the scale from left to right
# Told apart by shape as well as by colour; more methods than these take the last.
_COLOURS = ("#888888", "#b8860b", "#7a5195", "#0b6e99", "#2e7d32", "#c0392b", "#111111")
_STYLE = Markup(
    "<style>text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}}</style>"
)


def wishes_picture(figures: Sequence[WishFigures], description: str) -> str:
    """An SVG document; kinds from top to bottom as they come, methods in the order of tables."""
    kinds = list(dict.fromkeys(one.kind for one in figures))
    methods = list(dict.fromkeys(one.method for one in figures))
    top = 12 + _LEGEND * len(methods)
    height = top + _ROW * len(kinds) + _BOTTOM
    scale = ticks(0.0, max(one.ndcg.mean for one in figures))
    parts = [_STYLE, *_legend(methods), *_axis(scale, top, height - _BOTTOM)]
    for row, kind in enumerate(kinds):
        middle = top + _ROW * row + _ROW // 2
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(_START - 12, middle + 4, kind)
        )
        for one in figures:
            if one.kind == kind:
                parts.append(_dot(methods.index(one.method), _across(one.ndcg.mean, scale[-1]), middle))
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>\n'
        ).format(_WIDTH, height, description, Markup("\n").join(parts))
    )


def _legend(methods: Sequence[str]) -> list[Markup]:
    found = []
    for place, name in enumerate(methods):
        middle = 12 + _LEGEND * place
        found.append(_dot(place, _START, middle))
        found.append(Markup('<text x="{}" y="{}">{}</text>').format(_START + 14, middle + 4, label_of(name)))
    return found


def _axis(scale: Sequence[float], top: int, bottom: int) -> list[Markup]:
    return [
        Markup(
            '<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
            '<text x="{0}" y="{3}" text-anchor="middle">{4}</text>'
        ).format(f"{_across(value, scale[-1]):.1f}", top, bottom, bottom + 18, number_text(value))
        for value in scale
    ]


def _dot(place: int, x: float, y: float) -> Markup:
    """A sign in the method's colour: circles, squares and diamonds in turn."""
    colour = _COLOURS[min(place, len(_COLOURS) - 1)]
    if place % 3 == 0:
        return Markup('<circle cx="{:.1f}" cy="{}" r="5" fill="{}"/>').format(x, y, colour)
    turn = f' transform="rotate(45 {x:.1f} {y})"' if place % 3 == 2 else ""
    return Markup('<rect x="{:.1f}" y="{}" width="9" height="9" fill="{}"{}/>').format(
        x - 4.5, y - 4.5, colour, Markup(turn)
    )


def _across(value: float, highest: float) -> float:
    return _START + value / highest * (_END - _START)
