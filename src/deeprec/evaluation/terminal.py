"""The main tables of an evaluation for the terminal, as rich renderables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deeprec.evaluation.results_page import TITLES
from deeprec.evaluation.stage import load_evaluation
from deeprec.evaluation.summary import EvaluationSummary
from deeprec.evaluation.wording import STOP_TITLES, exploring, learning, ordered_methods, standing, title_of
from deeprec.metrics import RANKING_METRICS

if TYPE_CHECKING:
    from deeprec.run import Run

_POLICY_COLUMNS = (
    "validity",
    "retrievals",
    "sampled_tokens",
    "pool_recall",
    "reward/cold_start",
    "reward/recommendation",
)
_STYLES = {"ahead": "green", "behind": "red", "no clear difference": ""}


def render_evaluation(run: Run) -> RenderableType:
    """Tables and plain sentences about a run's evaluation on the test part."""
    return render_summary(load_evaluation(run))


def render_summary(summary: EvaluationSummary) -> RenderableType:
    """Tables and plain sentences about an evaluation."""
    sentences = [text for text in (standing(summary), learning(summary), exploring(summary)) if text]
    return Group(*_tables(summary), Text(""), *(Text(text) for text in sentences))


def _tables(summary: EvaluationSummary) -> Iterator[RenderableType]:
    sample = " (a sample)" if summary.sampled else ""
    yield _ranking_table(
        summary,
        f"{summary.dataset}, {summary.part}: {summary.users:,} users{sample}, {summary.items:,} items",
    )
    policies = [method for method in ordered_methods(summary) if method.behaviour]
    if policies:
        table = Table(title="How the policies explored")
        table.add_column("Policy")
        shown = [name for name in _POLICY_COLUMNS if any(name in method.metrics for method in policies)]
        for name in shown:
            table.add_column(TITLES[name], justify="right")
        table.add_column("Stopped otherwise")
        for method in policies:
            cells = [f"{method.metrics[name].mean:.3f}" if name in method.metrics else "-" for name in shown]
            table.add_row(
                title_of(method.name),
                *cells,
                _failures(method.behaviour.stop_reasons if method.behaviour else {}),
            )
        yield table
    if summary.without_target:
        yield Text(f"{len(summary.without_target)} users have no target in this part and are not counted.")


def _ranking_table(summary: EvaluationSummary, title: str) -> Table:
    table = Table(title=title)
    table.add_column("Method")
    for name in RANKING_METRICS:
        table.add_column(TITLES[name], justify="right")
    table.add_column("NDCG@10 against TRM", justify="right")
    table.add_column("s/user", justify="right")
    for method in ordered_methods(summary):
        difference = method.differences.get("trm", {}).get("ndcg@10")
        against = Text("")
        if difference is not None:
            interval = f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
            against = Text(interval, style=_STYLES[difference.verdict])
        cells = [f"{method.metrics[name].mean:.4f}" for name in RANKING_METRICS]
        table.add_row(title_of(method.name), *cells, against, f"{method.seconds_per_user:.3f}")
    return table


def _failures(stop_reasons: dict[str, int]) -> str:
    others = [
        f"{STOP_TITLES.get(name, name)} {count}" for name, count in stop_reasons.items() if name != "finished"
    ]
    return ", ".join(others) or "none"
