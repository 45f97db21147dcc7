"""Training curves: what metrics.jsonl holds, ordered into panels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deeprec.evaluation.charts import Series
from deeprec.stages import COLD_START, RECOMMENDATION, RL_STAGES, TRM, WARM_START

STAGE_TITLES = {WARM_START: "warm start", COLD_START: "stage 1", RECOMMENDATION: "stage 2"}
_TRM_TITLES = {
    "ndcg": "NDCG@10, no preference",
    "ndcg_true_phrase": "with a true phrase",
}
_PROCESS = "format|invocation|diversity"
_OUTCOME = "list_format|hit|rank|similarity"
# Title, and what a key must look like; a key goes to the first panel that takes it.
_PANELS = (
    ("Mixed reward", r"(heldout/)?reward"),
    ("Process reward parts", rf"reward/({_PROCESS})"),
    ("Outcome reward parts", rf"reward/({_OUTCOME})"),
    ("Valid trajectories", r"(heldout/)?validity"),
    ("Retrievals per trajectory", r"(heldout/)?retrievals"),
    ("Pool recall", r"(heldout/)?pool_recall"),
    ("Held-out ranking", r"heldout/(ndcg@10|recall@10|mrr)"),
    ("Held-out process parts", rf"heldout/reward/({_PROCESS})"),
    ("Held-out outcome parts", rf"heldout/reward/({_OUTCOME})"),
    ("Entropy per sampled token", r"entropy"),
    ("Sampled tokens per trajectory", r"(heldout/)?tokens"),
    ("Share of the commonest preference", r"(heldout/)?commonest_preference"),
    ("Distinct preferences, share", r"(heldout/)?distinct_preferences"),
    ("Preference diversity", r"(heldout/)?preference_diversity"),
    ("Entropy of preferences, bits", r"preference_entropy"),
    ("What a preference tells of its user, bits", r"preference_information"),
    ("Both, of the most possible", r"preference_(entropy|information)_share"),
    ("Repetition, share", r"repetition|repeated_lines"),
    ("Ended by a cap, share", r"truncated"),
    ("Stop reasons, share", r"stop/.*"),
    ("Loss", r"loss"),
    ("Gradient norm", r"grad_norm"),
    ("Groups without signal, share", r"groups_without_signal"),
    ("Clipped tokens, share", r"clip_fraction"),
)
_LINE_NAMES = {
    "preference_entropy_share": "entropy",
    "preference_information_share": "what it tells of the user",
    "repetition": "4-grams of a trajectory",
    "repeated_lines": "lines of a list",
}
_NOT_DRAWN = re.compile(
    rf"(heldout/)?(recall@[15]|ndcg@5|hit_rate|reward/(pool|{'|'.join(RL_STAGES)}))"
    r"|step|learning_rate|response_tokens|seconds.*"
)


@dataclass(frozen=True)
class Panel:
    """One chart of training curves."""

    title: str
    series: tuple[Series, ...]
    boundaries: tuple[tuple[float, str], ...] = ()
    x_label: str = "iteration"


def rl_panels(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Panels over both stages on one axis of steps; the second stage starts where the first ended.

    Every figure that was logged is drawn: those that no panel asks for get one of their own.
    """
    places, boundaries = _places(records)
    values: dict[str, list[tuple[float, float]]] = {}
    last_stage: dict[str, Any] = {}
    for record, place in places:
        for key, value in record.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or _NOT_DRAWN.fullmatch(key):
                continue
            points = values.setdefault(key, [])
            if last_stage.setdefault(key, record["stage"]) != record["stage"]:
                points.append((place, math.nan))  # stages mix rewards differently: no stroke between them
                last_stage[key] = record["stage"]
            points.append((place, float(value)))
    panels = []
    for title, pattern in _PANELS:
        keys = [key for key in values if re.fullmatch(pattern, key)]
        keys.sort(key=lambda key: key.startswith("heldout/"))  # training first
        if keys:
            lines = tuple(Series(_name(key, title), tuple(values.pop(key))) for key in keys)
            if title == "Stop reasons, share":  # most never occur
                lines = tuple(line for line in lines if any(y > 0 for _, y in line.points))
            panels.append(Panel(title, lines, boundaries))
    panels += [
        Panel(key, (Series(key, tuple(points)),), boundaries) for key, points in sorted(values.items())
    ]
    return panels


def fit_panels(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """What was logged before the RL: the TRM and the policy's reading by epoch, the warm start by optimizer step."""
    trm = [record for record in records if record.get("stage") == TRM and "epoch" in record]
    keys = dict.fromkeys(key for record in trm for key in record if key.startswith("ndcg"))
    reading = [record for record in records if record.get("stage") == f"{WARM_START}:reading"]
    warm = [record for record in records if record.get("stage") == WARM_START]
    panels = [
        Panel("TRM loss", (_series("loss", trm, "epoch", "loss"),), x_label="epoch"),
        Panel(
            "TRM on validation users",
            tuple(_series(_TRM_TITLES.get(key, key), trm, "epoch", key) for key in keys),
            x_label="epoch",
        ),
        Panel(
            "The policy's next titles on validation users",
            (_series("NDCG@10", reading, "epoch", "ndcg"),),
            x_label="epoch",
        ),
        Panel("Warm start loss", (_series("loss", warm, "step", "loss"),), x_label="optimizer step"),
    ]
    return [panel for panel in panels if any(line.points for line in panel.series)]


def _series(name: str, records: Sequence[Mapping[str, Any]], x: str, y: str) -> Series:
    return Series(name, tuple((float(r[x]), float(r[y])) for r in records if x in r and y in r))


def _places(
    records: Sequence[Mapping[str, Any]],
) -> tuple[list[tuple[Mapping[str, Any], float]], tuple[tuple[float, str], ...]]:
    """Records of the RL stages with their place on the common axis, and where stages begin."""
    found: list[tuple[Mapping[str, Any], float]] = []
    boundaries: list[tuple[float, str]] = []
    end = 0.0
    for stage in RL_STAGES:
        own = [
            r for r in records if r.get("stage") == stage and math.isfinite(float(r.get("step", math.nan)))
        ]
        if not own:
            continue
        start = min(float(record["step"]) for record in own)
        shift = end if start < end else 0.0  # steps may be counted from each stage's start, or through
        if found:
            boundaries.append((end, STAGE_TITLES[stage]))
        found += [(record, float(record["step"]) + shift) for record in own]
        end = max(place for _, place in found)
    return found, tuple(boundaries)


def _name(key: str, title: str) -> str:
    if key.startswith("heldout/") and not title.startswith("Held-out"):
        return "held out"
    if key in _LINE_NAMES:
        return _LINE_NAMES[key]
    several = "parts" in title or title in {"Held-out ranking", "Stop reasons, share"}
    return key.rsplit("/", 1)[-1] if several else "training"
