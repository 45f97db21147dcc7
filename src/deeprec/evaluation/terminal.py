"""The main tables of an evaluation for the terminal, as rich renderables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deeprec.evaluation.results_page import TITLES
from deeprec.evaluation.stage import load_evaluation
from deeprec.evaluation.summary import EvaluationSummary, MethodSummary
from deeprec.evaluation.wording import (
    STOP_TITLES,
    exploring,
    learning,
    ordered_methods,
    standing,
    title_of,
)
from deeprec.metrics import RANKING_METRICS

if TYPE_CHECKING:
    from deeprec.run import Run

# Metric of a policy: its title in 80 columns, and digits behind the point.
_POLICY_COLUMNS = {
    "validity": ("Valid", 3),
    "retrievals": ("Retr.", 2),
    "tokens": ("Tokens", 1),
    "pool_recall": ("Pool", 3),
    "reward/cold_start": ("Reward 1", 3),
    "reward/recommendation": ("Reward 2", 3),
    "sampled/recommendation": ("Sampled 2", 3),
}
_STYLES = {"ahead": "green", "behind": "red", "no clear difference": ""}


def render_evaluation(run: Run) -> RenderableType:
    """Tables and plain sentences about a run's evaluation on the test part."""
    return render_summary(load_evaluation(run))


def render_summary(summary: EvaluationSummary) -> RenderableType:
    """Tables and plain sentences about an evaluation."""
    sentences = [text for text in (standing(summary), learning(summary), exploring(summary)) if text]
    return Group(*_tables(summary), *(Text(text + "\n") for text in sentences))


def _tables(summary: EvaluationSummary) -> Iterator[RenderableType]:
    methods = ordered_methods(summary)
    sample = " (a sample)" if summary.sampled else ""
    title = f"{summary.dataset}, {summary.part}: {summary.users:,} users{sample}, {summary.items:,} items"
    ranking = _table(title, ["Method", *(TITLES[name].replace("Recall", "Rec.") for name in RANKING_METRICS)])
    for method in methods:
        ranking.add_row(
            title_of(method.name), *(f"{method.metrics[name].mean:.4f}" for name in RANKING_METRICS)
        )
    yield ranking
    for baseline in ("trm", "trm-refit"):
        if baseline in summary.methods and len(methods) > 1:
            yield _against(baseline, methods)
    policies = [method for method in methods if method.behaviour]
    if policies:
        yield _exploration(policies)
        yield from (Text(line) for line in _failures(policies))
        yield Text("")
    if summary.without_target:
        yield Text(f"{len(summary.without_target)} users have no target in this part and are not counted.\n")


def _against(baseline: str, methods: Sequence[MethodSummary]) -> Table:
    table = _table(
        f"NDCG@10 against: {title_of(baseline)}",
        ["Method", "Difference", "95% interval", "Relative", "s/user"],
    )
    for method in methods:
        difference = method.differences.get(baseline, {}).get("ndcg@10")
        seconds = f"{method.seconds_per_user:.4f}"
        if difference is None:
            table.add_row(title_of(method.name), "", "", "", seconds)
            continue
        table.add_row(
            title_of(method.name),
            Text(f"{difference.mean:+.4f}", style=_STYLES[difference.verdict]),
            f"{difference.low:+.4f} to {difference.high:+.4f}",
            "-" if difference.relative is None else f"{difference.relative:+.1%}",
            seconds,
        )
    return table


def _exploration(policies: Sequence[MethodSummary]) -> Table:
    shown = {
        name: column
        for name, column in _POLICY_COLUMNS.items()
        if any(name in method.metrics for method in policies)
    }
    title = "How the policies explored (means; Pool: target retrieved; rewards by stage)"
    table = _table(title, ["Policy", *(short for short, _ in shown.values())])
    for method in policies:
        cells = []
        for name, (_, digits) in shown.items():
            value = method.metrics.get(name)
            cells.append("-" if value is None else f"{value.mean:.{digits}f}")
        table.add_row(title_of(method.name), *cells)
    return table


def _failures(policies: Sequence[MethodSummary]) -> Iterator[str]:
    """One line for each policy of which some trajectories did not finish."""
    for method in policies:
        stops = method.behaviour.stop_reasons if method.behaviour else {}
        others = [f"{STOP_TITLES.get(name, name)} {n}" for name, n in stops.items() if name != "finished"]
        if others:
            yield f"{title_of(method.name)}, not finished: {', '.join(others)}"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(columns[0], no_wrap=True)
    for name in columns[1:]:
        table.add_column(name, justify="right")
    return table
