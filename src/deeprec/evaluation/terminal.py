"""The main tables of an evaluation for the terminal, as rich renderables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deeprec.evaluation.columns import BEYOND, COST, RANKING, p_text
from deeprec.evaluation.grids import Grid, differences_grid, methods_grid, notes, slice_grid, slice_notes
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
from deeprec.methods import TRM, TRM_REFIT
from deeprec.stages import COLD_START, RECOMMENDATION

if TYPE_CHECKING:
    from deeprec.run import Run

# Metric of a policy: its title in 80 columns, and digits behind the point.
_POLICY_COLUMNS = {
    "retrievals": ("Retr.", 2),
    "pool_recall": ("Pool", 3),
    f"reward/{COLD_START}": ("Reward 1", 3),
    f"reward/{RECOMMENDATION}": ("Reward 2", 3),
    f"sampled/{RECOMMENDATION}": ("Sampled 2", 3),
}
_STYLES = {"ahead": "green", "behind": "red", "no clear difference": ""}
_BASELINES = (TRM, TRM_REFIT)  # of the usual ones; evaluation.json and --format markdown have all
_NDCG = next(column for column in RANKING if column.key == "ndcg@10")
_MARKS = {"": "", "best": "bold", "second": "underline"}


def render_evaluation(run: Run) -> RenderableType:
    """Tables and plain sentences about a run's evaluation on the test part."""
    return render_summary(load_evaluation(run))


def render_summary(summary: EvaluationSummary) -> RenderableType:
    """Tables and plain sentences about an evaluation."""
    told = () if summary.is_comparison else (standing(summary), learning(summary), exploring(summary))
    sentences = [text for text in told if text]
    return Group(*_tables(summary), *(Text(text + "\n") for text in sentences))


def _tables(summary: EvaluationSummary) -> Iterator[RenderableType]:
    methods = ordered_methods(summary)
    yield _grid(methods_grid(summary, RANKING, short=True))
    yield _grid(replace(methods_grid(summary, BEYOND, short=True), title="What the lists are like"))
    yield _grid(replace(methods_grid(summary, COST, short=True), title="Valid answers, and cost"))
    usual = [name for name in _BASELINES if name in summary.baselines]
    for baseline in usual:
        yield _against(baseline, methods)
    differences = None if usual else differences_grid(summary)
    if differences is not None:
        yield _grid(differences)
    policies = [method for method in methods if method.behaviour]
    if policies:
        yield _exploration(policies)
        yield from (Text(line) for line in _failures(policies))
        yield Text("")
    if summary.slices:
        yield _grid(_numbered(slice_grid(summary, _NDCG, intervals=False)))
        yield Text("".join(f"{note}\n" for note in _numbers(slice_notes(summary), len(summary.slices))))
    yield Text("".join(f"{note}\n" for note in notes(summary)))


def _numbers(texts: Sequence[str], count: int) -> list[str]:
    return [f"{number}: {text}" if number <= count else text for number, text in enumerate(texts, 1)]


def _numbered(grid: Grid) -> Grid:
    """Slices by number: their names don't fit 80 columns."""
    return replace(grid, head=(grid.head[0], *(f"{n}" for n in range(1, len(grid.head)))))


def _grid(grid: Grid) -> Table:
    table = _table(grid.title, grid.head)
    for row in grid.rows:
        table.add_row(*(Text(cell.text, style=_MARKS[cell.mark]) for cell in row))
    return table


def _against(baseline: str, methods: Sequence[MethodSummary]) -> Table:
    head = ["Method", "Difference", "95% interval", "Relative", "Holm p"]
    table = _table(f"NDCG@10 against: {title_of(baseline)}", head)
    for method in methods:
        difference = method.differences.get(baseline, {}).get("ndcg@10")
        if difference is None:
            continue
        table.add_row(
            title_of(method.name),
            Text(f"{difference.mean:+.4f}", style=_STYLES[difference.verdict]),
            f"{difference.low:+.4f} to {difference.high:+.4f}",
            "-" if difference.relative is None else f"{difference.relative:+.1%}",
            p_text(difference.holm_p),
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
    table.add_column(columns[0])  # names may break over lines, figures may not
    for name in columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table
