"""The first page of the results: one table and one picture a data set, methods by NDCG@10 against what they cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from deeprec.evaluation.results import ResultRow
from deeprec.methods import TRM
from deeprec.stages import RECOMMENDATION

METRIC = "ndcg@10"
FINAL = RECOMMENDATION  # DeepRec as it is used: the policy after stage 2
BASELINE = TRM


@dataclass(frozen=True, slots=True)
class Standing:
    """A method on the main targets of a data set: means over `seeds`.

    `low` and `high` are the ends of the 95% bootstrap intervals over users, averaged over seeds; None where a row
    has none.
    `minutes`: to train all that it needs, and to evaluate it. `seconds`: to rank for a user, None where not measured.
    """

    method: str
    seeds: int
    value: float
    low: float | None
    high: float | None
    minutes: float
    seconds: float | None


def main_rows(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """The test rows of a data set that stand together and say most of it; `rows` are all of one data set.

    Those with DeepRec's last stage before those without, then most users, most seeds of that stage, most methods.
    """
    tested = sorted((row for row in rows if row.part == "test"), key=_evaluation)
    groups = [list(group) for _, group in groupby(tested, key=_evaluation)]
    return max(groups, key=_weight, default=[])


def standings(rows: Sequence[ResultRow]) -> list[Standing]:
    """The methods of one evaluation, best first."""
    found = []
    for method in sorted({row.method for row in rows}):
        own = [row for row in rows if row.method == method]
        intervals = [row.interval[METRIC] for row in own if METRIC in row.interval]
        seconds = [row.metrics["seconds"] for row in own if "seconds" in row.metrics]
        found.append(
            Standing(
                method=method,
                seeds=len(own),
                value=statistics.fmean(row.metrics[METRIC] for row in own),
                low=statistics.fmean(low for low, _ in intervals) if intervals else None,
                high=statistics.fmean(high for _, high in intervals) if intervals else None,
                minutes=statistics.fmean(row.minutes for row in own),
                seconds=statistics.fmean(seconds) if seconds else None,
            )
        )
    return sorted(found, key=lambda standing: -standing.value)


def front_section(dataset: str, rows: Sequence[ResultRow], folder: str) -> str:
    """What the first page says of a data set; `folder` holds its page and its picture, as seen from the first page."""
    chosen = main_rows(rows)
    if not chosen:
        return (
            f"## {dataset}\n\nNo method was evaluated on its test users. [Tables]({folder}/{dataset}.md).\n"
        )
    found = standings(chosen)
    lines = [
        f"## {dataset}\n",
        f"{chosen[0].users} test users, {chosen[0].protocol}. {verdict(chosen)}\n",
        f"![Methods on {dataset} by NDCG@10, with intervals, and the minutes that each takes]"
        f"({folder}/{dataset}.svg)\n",
        "| Method | Seeds | NDCG@10 | 95 % interval | Minutes | Seconds a user |",
        "|---|---|---|---|---|---|",
        *(_line(standing) for standing in found),
        f"\nCommands, all metrics, tests and slices: [{dataset}]({folder}/{dataset}.md).\n",
    ]
    return "\n".join(lines)


def verdict(rows: Sequence[ResultRow]) -> str:
    """Where DeepRec stands against its TRM, in a sentence; empty where one of them was not evaluated."""
    found = [
        row.differences[BASELINE][METRIC]
        for row in rows
        if row.method == FINAL and METRIC in row.differences.get(BASELINE, {})
    ]
    if not found:
        return ""
    ahead, behind = sum(low > 0 for _, low, _ in found), sum(high < 0 for _, _, high in found)
    mean = statistics.fmean(difference for difference, _, _ in found)
    base = statistics.fmean(row.metrics[METRIC] for row in rows if row.method == BASELINE)
    return (
        f"DeepRec after stage 2 against its TRM: {mean:+.4f} ({100 * mean / base:+.0f} %); of {len(found)} "
        f"{'seed' if len(found) == 1 else 'seeds'} {ahead} ahead, {behind} behind, "
        f"{len(found) - ahead - behind} unclear."
    )


def _evaluation(row: ResultRow) -> tuple[str, str, str]:
    return (row.protocol, row.targets, row.recipe)


def _weight(group: Sequence[ResultRow]) -> tuple[bool, int, int, int, tuple[str, str, str]]:
    methods = {row.method for row in group}
    seeds = sum(row.method == FINAL for row in group)
    return (seeds > 0, group[0].users, seeds, len(methods), _evaluation(group[0]))


def _line(standing: Standing) -> str:
    interval = "-" if standing.low is None else f"{standing.low:.4f} to {standing.high:.4f}"
    seconds = "-" if standing.seconds is None else f"{standing.seconds:.4f}"
    cells = [
        standing.method,
        standing.seeds,
        f"{standing.value:.4f}",
        interval,
        f"{standing.minutes:.1f}",
        seconds,
    ]
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
