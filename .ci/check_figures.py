"""Whether a run ended in a report with real figures: `python check_figures.py RUN`."""

import json
import math
import sys
from pathlib import Path

from deeprec.pipeline import METHODS


def numbers(value: object, place: str = "") -> list[tuple[str, float]]:
    """Every number in nested plain values, with its place."""
    if isinstance(value, dict):
        return [found for key, entry in value.items() for found in numbers(entry, f"{place}.{key}")]
    if isinstance(value, list):
        return [found for index, entry in enumerate(value) for found in numbers(entry, f"{place}[{index}]")]
    return [(place, float(value))] if isinstance(value, int | float) else []


run = Path(sys.argv[1])
page = next((run / "report").glob("*.html")).read_text(encoding="utf-8")
assert "</html>" in page
assert "http-equiv" not in page
assert 'src="http' not in page, "the report must not load anything"

summary = json.loads((run / "report" / "evaluation.json").read_text(encoding="utf-8"))
figures = numbers(summary)
broken = [place for place, value in figures if not math.isfinite(value)]
assert not broken, f"not finite: {broken}"
methods = {entry["name"]: entry for entry in summary["methods"]}
assert set(methods) == set(METHODS), f"methods evaluated: {sorted(methods)}"
for name, entry in methods.items():
    metrics = entry["metrics"]
    assert {"recall@10", "ndcg@10", "mrr"} <= set(metrics), (name, sorted(metrics))
    print(f"{name}: recall@10 {metrics['recall@10']:.3f}, ndcg@10 {metrics['ndcg@10']:.3f}")
assert methods["trm"]["metrics"]["recall@10"] > 0, "the TRM found nothing at all"
print(f"{len(figures)} figures, all finite; report of {len(page):,} characters")
