"""An evaluation as grids of text: the table of methods, the differences and tests, and the slices.

Grids know no markup; `markup.py` and `terminal.py` write them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deeprec.evaluation.bootstrap import Difference, Interval
from deeprec.evaluation.columns import COLUMNS, TITLES, Column, Mark, marks, p_text
from deeprec.evaluation.comparison import TESTED
from deeprec.evaluation.summary import EvaluationSummary, MethodSummary, Slice
from deeprec.evaluation.wording import ordered_methods, title_of

TESTED_TITLES = {column.key: column.title for column in COLUMNS if column.key in TESTED}
_NAMED_USERS = 10  # of the users without a target, or missing on one side; evaluation.json names all


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and whether it is the best or second best of its column."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class Grid:
    """A titled table; rows are as wide as `head`, whose first entry names what the rows are."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def methods_grid(
    summary: EvaluationSummary, columns: Sequence[Column] = COLUMNS, short: bool = False
) -> Grid:
    """Every method in a row, every figure that any of them has in a column."""
    methods = ordered_methods(summary)
    shown, cells = [], []
    for column in columns:
        texts = {method.name: column.text(method.figures.get(column.key)) for method in methods}
        if set(texts.values()) == {"-"}:
            continue
        marked = marks(column, texts)
        shown.append(column.short if short else column.title)
        cells.append([Cell(texts[method.name], marked[method.name]) for method in methods])
    names = [Cell(title_of(method.name)) for method in methods]
    return Grid(heading(summary), ("Method", *shown), tuple(zip(names, *cells, strict=True)))


def differences_grid(summary: EvaluationSummary) -> Grid | None:
    """Every tested comparison once: difference, interval, p-value and Holm's; None without one."""
    methods, seen = ordered_methods(summary), set()
    rows = []
    for method in methods:
        for baseline, found in method.differences.items():
            if (baseline, method.name) in seen:
                continue  # the same comparison, the other way round
            seen.add((method.name, baseline))
            rows += [
                _test_row(method.name, baseline, metric, found[metric])
                for metric in TESTED
                if metric in found
            ]
    head = ("Method", "Against", "Metric", "Difference", "95% interval", "p", "Holm p")
    return Grid("Differences on the same users", head, tuple(rows)) if rows else None


def _test_row(method: str, baseline: str, metric: str, difference: Difference) -> tuple[Cell, ...]:
    texts = (
        title_of(method),
        title_of(baseline),
        TESTED_TITLES[metric],
        f"{difference.mean:+.4f}",
        f"[{difference.low:+.4f}, {difference.high:+.4f}]",
        p_text(difference.p_value),
        p_text(difference.holm_p),
    )
    return tuple(map(Cell, texts))


def slice_grid(summary: EvaluationSummary, column: Column, intervals: bool = True) -> Grid:
    """Every method in a row, every slice in a column, its number of users in the head."""
    methods = ordered_methods(summary)
    cells = []
    for part in summary.slices:
        found = {method.name: part.metrics.get(method.name, {}).get(column.key) for method in methods}
        texts = {name: column.text(None if value is None else value.mean) for name, value in found.items()}
        marked = marks(column, texts)
        cells.append(
            [
                Cell(texts[name] + (_interval(value, column) if intervals else ""), marked[name])
                for name, value in found.items()
            ]
        )
    names = [Cell(title_of(method.name)) for method in methods]
    head = ("Method", *(slice_heading(part) for part in summary.slices))
    return Grid(f"{column.title} by slice", head, tuple(zip(names, *cells, strict=True)))


def slice_heading(part: Slice) -> str:
    """`cold target (41, small)`: the slice and its number of users."""
    return f"{part.name} ({part.users:,}{', small' if part.is_small else ''})"


def slice_notes(summary: EvaluationSummary) -> list[str]:
    """What each slice is; and that small ones say little."""
    notes = [f"{part.name}: {part.title}, {part.users:,} users" for part in summary.slices]
    if any(part.is_small for part in summary.slices):
        notes.append("small: fewer than 100 users, too few to tell methods apart")
    return notes


def notes(summary: EvaluationSummary) -> list[str]:
    """What a reader of the tables must know."""
    found = [
        f"Protocol: {summary.protocol}. Targets {summary.targets}, lists of {summary.k}, seed {summary.seed}.",
        f"Intervals: 95%, paired bootstrap over users, {summary.resamples:,} resamples.",
    ]
    if summary.comparisons:
        found.append(
            f"p: paired sign-flip test, {summary.permutations:,} permutations; Holm p: corrected over all "
            f"{summary.comparisons} comparisons of this evaluation."
        )
    space = "categories" if summary.diversity_space == "categories" else "text vectors"
    found.append(
        f"List diversity is measured with the items' {space}; popularity is counted in the fit part."
    )
    found += [note for method in ordered_methods(summary) if (note := _partial(method, summary.users))]
    if summary.without_target:
        found.append(f"Without a target in this part, and so not counted: {_users(summary.without_target)}.")
    if summary.few_left:
        found.append(f"Fewer than {summary.k} items are left, and so listed, for {_users(summary.few_left)}.")
    if summary.left_out:
        names = ", ".join(TITLES.get(name, name) for name in summary.left_out)
        found.append(f"Left out, since the evaluations did not measure it alike: {names}.")
    for name, users in summary.missing.items():
        found.append(f"Evaluated in the others, but not in {name}, and so left out: {_users(users)}.")
    return found


def heading(summary: EvaluationSummary) -> str:
    """Data set, part, users and items in one line."""
    sample = " (a sample)" if summary.sampled else ""
    return f"{summary.dataset}, {summary.part}: {summary.users:,} users{sample}, {summary.items:,} items"


def _interval(value: Interval | None, column: Column) -> str:
    return "" if value is None else f" [{value.low:{column.format}}, {value.high:{column.format}}]"


def _partial(method: MethodSummary, users: int) -> str | None:
    """That some lists are empty: then novelty, popularity and diversity are means over the others."""
    found = method.metrics.get("novelty")
    if found is None:
        return f"{title_of(method.name)} gave nobody a list."
    if found.users is None:
        return None
    return (
        f"{title_of(method.name)} gave {users - found.users:,} users no list: a miss each; "
        "its novelty, popularity and diversity are means over the others."
    )


def _users(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED_USERS])
    rest = len(names) - _NAMED_USERS
    word = "user" if len(names) == 1 else "users"
    return f"{len(names):,} {word} ({shown}{f' and {rest:,} more' if rest > 0 else ''})"
