"""Whether a run ended in a report with real figures: `python check_figures.py RUN`."""

import math
import sys
from pathlib import Path

from deeprec.evaluation.summary import read_summary
from deeprec.methods import known_methods
from deeprec.metrics import RANKING_METRICS
from deeprec.run import Run


def numbers(value: object, place: str = "") -> list[tuple[str, float]]:
    """Every number in nested plain values, with its place."""
    if isinstance(value, dict):
        return [found for key, entry in value.items() for found in numbers(entry, f"{place}.{key}")]
    if isinstance(value, list | tuple):
        return [found for index, entry in enumerate(value) for found in numbers(entry, f"{place}[{index}]")]
    return [(place, float(value))] if isinstance(value, int | float) else []


run = Path(sys.argv[1])
page = next((run / "report").glob("*.html")).read_text(encoding="utf-8")
assert "</html>" in page, "the report is not a whole page"
assert 'src="http' not in page, "the report loads something from elsewhere"

summary = read_summary(run / "report" / "evaluation.json")
figures = numbers(summary.model_dump())
broken = [place for place, value in figures if not math.isfinite(value)]
assert not broken, f"not finite: {broken}"
expected = set(known_methods(Run.open(run).config))
assert expected <= set(summary.methods), f"evaluated: {sorted(summary.methods)}, not {sorted(expected)}"
for name, method in summary.methods.items():
    for metric in RANKING_METRICS:
        value = method.metrics[metric].mean
        assert 0 <= value <= 1, f"{name}: {metric} = {value}"
    print(
        f"{name}: " + ", ".join(f"{metric} {method.metrics[metric].mean:.3f}" for metric in RANKING_METRICS)
    )
trained = summary.method("recommendation").metrics
assert trained["validity"].mean >= 0.5, f"only {trained['validity'].mean:.0%} of the trajectories are valid"
assert trained["pool_recall"].mean > 0, "the policy retrieved no target at all"
print(f"{len(figures)} figures, all finite; report of {len(page):,} characters")
