"""A picture of a data set's methods as an SVG file: NDCG@10 with intervals on the left, minutes on the right."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from deeprec.evaluation.charts import number_text, ticks
from deeprec.evaluation.results_front import BASELINE, FINAL, Standing

_WIDTH, _ROW, _TOP, _BOTTOM = 760, 24, 30, 34
_NAMES, _VALUES, _COSTS = 190, (200, 540), (580, 700)  # where names end; the two scales from left to right
# A file of its own has no page around it whose colours it could take.
_STYLE = Markup(
    "<style>text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}.range{stroke:#888;stroke-width:2}"
    ".dot{fill:#888}.own{fill:#0b6e99;stroke:#0b6e99}.base{stroke:#bbb;stroke-dasharray:4 3}.bar{fill:#ccc}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}.bar{fill:#555}.own{fill:#5bb8e0;stroke:#5bb8e0}}"
    "</style>"
)


def picture(standings: Sequence[Standing], description: str) -> str:
    """An SVG document; `standings` from top to bottom, the policy's own in colour, a dashed line at the TRM."""
    height = _TOP + _ROW * len(standings) + _BOTTOM
    highest = max(standing.value if standing.high is None else standing.high for standing in standings)
    scale = ticks(0.0, highest)
    parts = [_STYLE, _axes(scale, height)]
    for standing in standings:
        if standing.method == BASELINE:
            place = _n(_across(standing.value, scale[-1]))
            parts.append(
                Markup('<line class="base" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
                    place, _TOP, height - _BOTTOM
                )
            )
    longest = max(standing.minutes for standing in standings)
    parts += [_row(standing, number, scale[-1], longest) for number, standing in enumerate(standings)]
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>\n'
        ).format(_WIDTH, height, description, Markup("\n").join(parts))
    )


def _axes(scale: Sequence[float], height: int) -> Markup:
    lines = [
        Markup('<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/><text x="{0}" y="{3}" {4}>{5}</text>').format(
            _n(_across(value, scale[-1])), _TOP, height - _BOTTOM, height - _BOTTOM + 16,
            Markup('text-anchor="middle"'), number_text(value),
        )
        for value in scale
    ]  # fmt: skip
    titles = Markup(
        '<text x="{}" y="18">NDCG@10, 95 % interval over users</text><text x="{}" y="18">minutes (log scale)</text>'
    ).format(_VALUES[0], _COSTS[0])
    return Markup("\n").join([*lines, titles])


def _row(standing: Standing, number: int, highest: float, longest: float) -> Markup:
    middle = _TOP + _ROW * number + _ROW // 2
    own = " own" if standing.method == FINAL else ""
    parts = [
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(_NAMES, middle + 4, standing.method),
        Markup('<circle class="dot{}" cx="{}" cy="{}" r="4"/>').format(
            own, _n(_across(standing.value, highest)), middle
        ),
    ]
    if standing.low is not None and standing.high is not None:
        parts.insert(
            1,
            Markup('<line class="range{0}" x1="{1}" x2="{2}" y1="{3}" y2="{3}"/>').format(
                own, _n(_across(standing.low, highest)), _n(_across(standing.high, highest)), middle
            ),
        )
    # On a logarithmic scale from half a minute on: costs lie between seconds and hours.
    share = math.log1p(2 * standing.minutes) / max(math.log1p(2 * longest), 1e-9)
    wide = share * (_COSTS[1] - _COSTS[0])
    parts.append(
        Markup(
            '<rect class="bar" x="{}" y="{}" width="{}" height="10"/><text x="{}" y="{}">{}</text>'
        ).format(
            _COSTS[0], middle - 5, _n(wide), _n(_COSTS[0] + wide + 6), middle + 4, f"{standing.minutes:.1f}"
        )
    )
    return Markup("").join(parts)


def _across(value: float, highest: float) -> float:
    return _VALUES[0] + value / highest * (_VALUES[1] - _VALUES[0])


def _n(value: float) -> str:
    return f"{value:.1f}"
