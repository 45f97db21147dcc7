"""Is a run healthy? When training has collapsed, and what each logged figure should be.

`docs/howto/healthy-run.md` shows the figures of good and bad runs. No framework is imported here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

AVERAGED = 5  # iterations at either end of a stage: one alone is noisy
_TREND = 10  # iterations at either end that say whether a reward moved
_CLEAR = 3.0  # standard errors beyond which a difference is not noise


class Verdict(StrEnum):
    """How a figure stands. `NONE`: there is nothing to judge it by."""

    GOOD = "good"
    WATCH = "watch"
    BAD = "bad"
    NONE = "-"


@dataclass(frozen=True)
class Check:
    """A figure, what it is, and from where on it is worth watching or bad; `advice` helps then.

    `is_low`: values *below* the limits are worth watching or bad; otherwise those above.
    It is worth watching, too, when it falls under `kept` times its beginning, or beyond
    `grown` times it.
    """

    figure: str
    title: str
    watch: float
    bad: float
    is_low: bool
    advice: str
    kept: float = 0.0
    grown: float = math.inf

    def judge(self, begin: float, latest: float) -> Verdict:
        """The verdict on the means over the first and the latest iterations."""
        if not math.isfinite(latest):
            return Verdict.BAD
        sign = -1.0 if self.is_low else 1.0
        if sign * latest > sign * self.bad:
            return Verdict.BAD
        # Against its own beginning, too: what is usual differs from model to model.
        has_moved = latest < self.kept * begin or latest > self.grown * max(begin, 0.0)
        is_odd = has_moved or sign * latest > sign * self.watch
        return Verdict.WATCH if is_odd else Verdict.GOOD

    @property
    def limits(self) -> str:
        """The thresholds in words."""
        side = "below" if self.is_low else "above"
        moved = f", outside {self.kept:g} to {self.grown:g} times its beginning" if self.kept else ""
        return f"watch {side} {self.watch:g}{moved}, bad {side} {self.bad:g}"


CHECKS = (
    Check(
        "validity", "Valid trajectories", 0.7, 0.4, True,
        "Read samples in trajectories.jsonl; lower rl.learning_rate or train the warm start longer.",
    ),
    Check(
        "truncated", "Ended by a cap", 0.2, 0.5, False,
        "If the text makes sense, raise rollout.segment_tokens, rollout.response_tokens or "
        "rollout.max_retrievals; if it rambles, lower rl.learning_rate.",
    ),
    Check(
        "entropy", "Entropy per sampled token, nats", 0.1, 0.03, True,
        "Falling: what is never sampled is never learned. Rising: the policy turns to noise. Lower rl.learning_rate.",
        kept=0.33,
        grown=1.5,
    ),
    Check(
        "repetition", "Repeated 4-grams", 0.1, 0.3, False,
        "The policy degenerates into repeating itself: lower rl.learning_rate.",
    ),
    Check(
        "repeated_lines", "Lines of a list that repeat", 0.2, 0.5, False,
        "Lists lose places to doubles: give `list_format` weight in stage 2, or let them be drawn from what was found "
        "(rollout.list = masked).",
    ),
    Check(
        "commonest_preference", "Share of the commonest preference", 0.3, 0.6, False,
        "Nearly everyone is asked the same: lower rl.learning_rate, or reward what the turns find (weight of `pool`).",
    ),
    Check(
        "preference_entropy_share", "Entropy of preferences, of the most possible", 0.5, 0.25, True,
        "Few different preferences are left: see the share of the commonest one.",
    ),
    Check(
        "preference_information_share", "What a preference tells of its user, of the most possible", 0.03, 0.0,
        True,
        "Preferences don't depend on the user: show more of the user (rollout.history, rollout.prompt_fields) or "
        "train the warm start longer.",
    ),
    Check(
        "groups_without_signal", "Groups without signal", 0.5, 0.9, False,
        "These groups teach nothing: raise rl.rollouts_per_user or rollout.temperature, or give weight to a "
        "graded reward part.",
    ),
    Check(
        "clip_fraction", "Clipped tokens", 0.1, 0.3, False,
        "Updates go far from the policy that sampled: lower rl.learning_rate or rl.updates_per_step.",
    ),
    Check(
        "retrievals", "Retrievals per trajectory", 1.0, 0.5, True,
        "The policy stops asking the TRM: check the weights of `format` and `invocation` in stage 1.",
    ),
)  # fmt: skip
# Figures that are shown beside the judged ones.
SHOWN = {
    "preference_entropy": "Entropy of preferences, bits",
    "preference_information": "What a preference tells of its user, bits",
}
_LENGTH = ("tokens", "Sampled tokens per trajectory")
LENGTH_WATCH, LENGTH_BAD = 1.5, 3.0  # times longer or shorter than at the stage's beginning
_LENGTH_ADVICE = (
    "Length drifts: look at repetition and at samples in trajectories.jsonl before you trust the reward."
)
_REWARD_ADVICE = "It falls: lower the stage's learning_rate, and see which other figure moved first."
_PART_ADVICE = "It falls while other parts may rise: compare the weights in the stage's table."


@dataclass(frozen=True)
class Finding:
    """One row of a stage's health: means over the first and the last few iterations, and the verdict.

    A mean is NaN where the figure could not be had.
    """

    figure: str
    title: str
    begin: float
    latest: float
    verdict: Verdict
    rule: str  # by what it was judged
    advice: str  # empty when all is well
    points: tuple[tuple[float, float], ...]  # (iteration, value)

    @property
    def ends(self) -> dict[str, float]:
        """`begin` and `latest`."""
        return {"begin": self.begin, "latest": self.latest}


def examine(rows: Sequence[Mapping[str, Any]], weights: Mapping[str, float]) -> list[Finding]:
    """Findings about one stage from its rows of `metrics.jsonl`, rewards first; none without iterations.

    `weights` says which reward parts the stage is rewarded for.
    """
    rows = [row for row in rows if "reward" in row]
    if not rows:
        return []
    found = [_reward(rows, "reward", "Mixed reward", _REWARD_ADVICE)]
    parts = [name for name in weights if weights[name] > 0]
    found += [_reward(rows, f"reward/{name}", f"Reward part {name}", _PART_ADVICE) for name in parts]
    found += [_judged(rows, check) for check in CHECKS]
    found += [_plain(rows, figure, title) for figure, title in SHOWN.items()]
    found.append(_length(rows))
    return [finding for finding in found if finding.points]


def _points(rows: Sequence[Mapping[str, Any]], figure: str) -> tuple[tuple[float, float], ...]:
    """Iterations and values; NaN where nothing was asked, and so nothing can be said about what was."""
    is_of_preferences = "preference" in figure and not figure.startswith("reward")
    return tuple(
        (
            float(row["step"]),
            math.nan if is_of_preferences and row.get("retrievals") == 0 else float(row[figure]),
        )
        for row in rows
        if figure in row
    )


def overall(findings: Sequence[Finding]) -> str:
    """One sentence about a stage."""
    for verdict, words in ((Verdict.BAD, "bad"), (Verdict.WATCH, "worth watching")):
        named = [
            finding.title[0].lower() + finding.title[1:] for finding in findings if finding.verdict is verdict
        ]
        if named:
            verb = "is" if len(named) == 1 else "are"
            judged = sum(finding.verdict is not Verdict.NONE for finding in findings)
            return f"{len(named)} of {judged} figures {verb} {words}: {'; '.join(named)}."
    return "Nothing looks wrong."


def format_figure(value: float) -> str:
    """A figure for a table; `-` for one that could not be had."""
    return f"{value:.3f}" if math.isfinite(value) else "-"


def _finding(
    points: tuple[tuple[float, float], ...], figure: str, title: str, verdict: Verdict, rule: str, advice: str
) -> Finding:
    values = [value for _, value in points]
    begin, latest = _mean(values[:AVERAGED]), _mean(values[-AVERAGED:])
    said = advice if verdict in (Verdict.WATCH, Verdict.BAD) else ""
    return Finding(figure, title, begin, latest, verdict, rule, said, points)


def _judged(rows: Sequence[Mapping[str, Any]], check: Check) -> Finding:
    points = _points(rows, check.figure)
    values = [value for _, value in points]
    verdict = check.judge(_mean(values[:AVERAGED]), _mean(values[-AVERAGED:]))
    return _finding(points, check.figure, check.title, verdict, check.limits, check.advice)


def _plain(rows: Sequence[Mapping[str, Any]], figure: str, title: str) -> Finding:
    return _finding(_points(rows, figure), figure, title, Verdict.NONE, "not judged by itself", "")


def _reward(rows: Sequence[Mapping[str, Any]], figure: str, title: str, advice: str) -> Finding:
    """Bad when it clearly fell from the first iterations to the last, good otherwise."""
    points = _points(rows, figure)
    values = np.array([value for _, value in points])
    verdict = Verdict.BAD if not np.isfinite(values).all() else Verdict.GOOD
    count = min(_TREND, len(values) // 2)
    if verdict is Verdict.GOOD and count >= 2:
        first, last = values[:count], values[-count:]
        # By the steadier end: within the other one the reward may be on its way down.
        error = math.sqrt(2 * min(first.var(ddof=1), last.var(ddof=1)) / count)
        if last.mean() - first.mean() < -max(_CLEAR * error, 1e-9):
            verdict = Verdict.BAD if figure == "reward" else Verdict.WATCH
    rule = f"must not fall by more than {_CLEAR:g} standard errors of the steadier end"
    return _finding(points, figure, title, verdict, rule, advice)


def _length(rows: Sequence[Mapping[str, Any]]) -> Finding:
    figure, title = _LENGTH
    points = _points(rows, figure)
    values = [value for _, value in points]
    begin, latest = _mean(values[:AVERAGED]), _mean(values[-AVERAGED:])
    times = max(latest / begin, begin / latest) if begin > 0 and latest > 0 else math.inf
    verdict = Verdict.BAD if times > LENGTH_BAD else Verdict.WATCH if times > LENGTH_WATCH else Verdict.GOOD
    rule = f"watch {LENGTH_WATCH:g} times longer or shorter than at first, bad {LENGTH_BAD:g} times"
    return _finding(points, figure, title, verdict, rule, _LENGTH_ADVICE)


def _mean(values: Sequence[float]) -> float:
    """Mean of those that could be had; NaN when there are none."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
