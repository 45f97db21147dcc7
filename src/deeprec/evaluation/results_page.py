"""docs/results.md and the page of each data set behind it, generated from the rows in results/*.json."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from deeprec.disk import write_atomically
from deeprec.errors import EvaluationError
from deeprec.evaluation.columns import BEHAVIOUR_TITLES, COLUMNS, TITLES, Column, method_places, p_text
from deeprec.evaluation.results import ResultRow, load_rows
from deeprec.evaluation.results_front import front_section, main_rows, standings
from deeprec.evaluation.results_picture import picture
from deeprec.evaluation.tables import FigureTable, load_tables, render_table
from deeprec.methods import TRM, TRM_DATED, TRM_REFIT, TRM_RERANKED
from deeprec.settings.gone import GONE
from deeprec.stages import COLD_START, RECOMMENDATION, WARM_START

_SETTING = re.compile(r"--set (?:'|\")?([\w.]+)=")
# What is compared with what: metric, baseline, methods (none: all).
_COMPARISONS = (
    ("ndcg@10", TRM, None),
    ("ndcg@10", TRM_REFIT, None),
    ("ndcg@10", TRM_DATED, (RECOMMENDATION,)),
    ("ndcg@10", TRM_RERANKED, (RECOMMENDATION,)),
    ("recall@10", TRM_REFIT, (RECOMMENDATION,)),
    ("ndcg@10", WARM_START, (RECOMMENDATION,)),
    (f"reward/{COLD_START}", WARM_START, (COLD_START,)),
    (f"reward/{RECOMMENDATION}", WARM_START, (RECOMMENDATION,)),
    (f"sampled/{RECOMMENDATION}", WARM_START, (RECOMMENDATION,)),
)
_FRONT = """\
# Results

Generated from `results/*.json` by `deeprec results render`; don't edit it.

Per data set the evaluation that says most of it: every method on the same test users, ranked over the whole
catalogue, best first. `recommendation` is DeepRec after both stages of reinforcement learning (in colour), `trm`
the recommendation model that it asks (dashed line). Intervals are 95 % bootstrap intervals over users, averaged over
seeds; whether two methods differ is said by the paired tests on the page of the data set. Minutes: to train all that
a method needs, and to evaluate it.
"""
_INTRODUCTION = """\
This page is generated from `results/*.json` (rows) and `results/tables/*.json` by `deeprec results render`;
don't edit it. [All data sets](../results.md).

Every figure is a mean over all evaluated users, ranked over the whole catalogue; a trajectory that fails
counts as a miss. MRR is cut at rank 10, like the longest list. With several seeds a cell is the mean over
seeds ± their standard deviation (n - 1); with one it stands alone. Methods share a table only if they were
evaluated on the same targets (the hash says so) and made by the same command.

Coverage is the share of the catalogue that anyone is recommended, novelty the mean self-information of a
list in bits, popularity the mean share of users who have its items, popularity lift its excess over the
users' own histories, list diversity 1 - mean pairwise cosine; [evaluate](../howto/evaluate.md) gives the formulas.
LLM tokens are those that a language model sampled for one user.

Policies decode greedily, except in the columns "sampled": the reward of one trajectory a user, sampled as in
training, which is what reinforcement learning raises.

Differences are paired: the same users with either method. A cell gives the mean over seeds (with one seed,
its 95% bootstrap interval too), and in how many seeds that interval lies above 0 (ahead), below 0 (behind),
or holds 0 (unclear). "Holm p" is the p-value of a paired sign-flip test after Holm's correction over all
comparisons of the evaluation, the largest over seeds; rows from before it was measured have none.

The oracle, where there is one, knows the probabilities of the simulation: no method can be better on
average. Minutes are the time to train all that a method needs, and to evaluate it.
"""


def render_pages(folder: Path, name: str = "results") -> dict[str, str]:
    """Every page and picture for the rows in `folder`, by its path relative to the first page's folder.

    The first page is `NAME.md`; `NAME/DATASET.md` holds everything of a data set, `NAME/DATASET.svg` its picture.
    Raises EvaluationError for rows that don't fit together.
    """
    rows, tables = load_rows(folder), load_tables(folder / "tables")
    if not rows and not tables:
        return {f"{name}.md": _FRONT + "\nThere are no results yet.\n"}
    rows.sort(key=_place)
    front, pages = [_FRONT], {}
    for dataset in sorted({row.dataset for row in rows} | {table.dataset for table in tables}):
        own = [row for row in rows if row.dataset == dataset]
        front.append(front_section(dataset, own, name))
        pages[f"{name}/{dataset}.md"] = _dataset_page(
            dataset, own, [table for table in tables if table.dataset == dataset]
        )
        if chosen := main_rows(own):
            pages[f"{name}/{dataset}.svg"] = picture(
                standings(chosen), f"Methods on {dataset}: NDCG@10 with intervals, and minutes"
            )
    return {f"{name}.md": "\n".join(front)} | pages


def write_results(folder: Path, page: Path) -> Path:
    """Write the first page and all behind it, take away what no row asks for any more, and return the first one."""
    found = render_pages(folder, page.stem)
    for stale in _stale(page, found):
        stale.unlink()
    for path, text in found.items():
        place = page.parent / path
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, text)
    return page


def check_results(folder: Path, page: Path) -> None:
    """Raise EvaluationError when a page is not what the rows give, or nothing asks for it."""
    found = render_pages(folder, page.stem)
    wrong = _stale(page, found)
    for path, text in found.items():
        place = page.parent / path
        if not place.exists() or place.read_text(encoding="utf-8") != text:
            wrong.append(place)
    if wrong:
        raise EvaluationError(f"{wrong[0]}: not current with {folder}/*.json; run `deeprec results render`")


def _stale(page: Path, found: Mapping[str, str]) -> list[Path]:
    kept = {page.parent / path for path in found}
    there = [path for ending in ("md", "svg") for path in (page.parent / page.stem).glob(f"*.{ending}")]
    return sorted(path for path in there if path not in kept)


def _dataset_page(dataset: str, rows: Sequence[ResultRow], tables: Sequence[FigureTable]) -> str:
    parts = [f"# {dataset}\n", _INTRODUCTION]
    for _, group in groupby(rows, key=lambda row: _place(row)[1:]):
        parts.append(_table(list(group)))
    return "\n".join([*parts, *(render_table(table) for table in tables)])


def _place(row: ResultRow) -> tuple[str, ...]:
    return (row.dataset, row.protocol, row.part, row.targets, row.recipe)


def _table(rows: Sequence[ResultRow]) -> str:
    first = rows[0]
    users = {row.users for row in rows}
    if len(users) > 1:
        raise EvaluationError(
            f"targets {first.targets}: rows disagree on the number of users: {sorted(users)}"
        )
    methods = _by_method(rows)
    # Rows from before a figure was measured don't have it.
    shown = [column for column in COLUMNS if any(column.key in row.metrics for row in rows)]
    lines = [
        f"### {first.part}: {first.protocol}\n",
        f"{first.users} users, targets `{first.targets}`. Made by\n",
        f"```\n{first.recipe}\n```\n",
        *_gone_settings(rows),
        *_grid(["Method", "Seeds", "History", *(column.title for column in shown), "Minutes"], [
            [name, str(len(group)), _history(group), *(_figure(group, column) for column in shown),
             _mean_minutes(group)]
            for name, group in methods.items()
        ]),
    ]  # fmt: skip
    lines += _notes(methods) + _behaviour_table(methods) + _difference_table(methods)
    machines = ", ".join(sorted({row.machine for row in rows}))
    commits = ", ".join(f"`{commit}`" for commit in sorted({row.commit for row in rows if row.commit}))
    seeds = ", ".join(str(seed) for seed in sorted({row.seed for row in rows}))
    versions = ", ".join(sorted({f"{k} {v}" for row in rows for k, v in row.versions.items()}))
    lines.append(
        f"Seeds {seeds}; {machines}; commit {commits or 'unknown'}; {versions or 'versions unknown'}.\n"
    )
    return "\n".join(lines)


def _gone_settings(rows: Sequence[ResultRow]) -> list[str]:
    """What to know of a command that this version refuses: its settings that are gone, and which commit has them."""
    asked = dict.fromkeys(_SETTING.findall(rows[0].recipe))
    gone = [f"`{name}`" for name in asked if name in GONE]
    if not gone:
        return []
    commits = " or ".join(
        f"commit `{commit}`" for commit in sorted({row.commit for row in rows if row.commit})
    )
    return [f"Later versions refuse {', '.join(gone)}: the command is for {commits or 'an earlier one'}.\n"]


def _by_method(rows: Sequence[ResultRow]) -> dict[str, list[ResultRow]]:
    names = method_places(list({row.method for row in rows}))
    return {name: [row for row in rows if row.method == name] for name in names}


def _notes(methods: dict[str, list[ResultRow]]) -> list[str]:
    """What rows say of themselves, each note once."""
    found = [
        f"- {name}: {note}."
        for name, group in methods.items()
        for note in dict.fromkeys(row.note for row in group if row.note)
    ]
    return [*found, ""] if found else []


def _behaviour_table(methods: dict[str, list[ResultRow]]) -> list[str]:
    policies = {name: group for name, group in methods.items() if "retrievals" in group[0].metrics}
    shown = [
        name
        for name in BEHAVIOUR_TITLES
        if any(name in row.metrics for group in policies.values() for row in group)
    ]
    body = [[name, *(_cell(group, metric) for metric in shown)] for name, group in policies.items()]
    return _grid(["Policy", *(TITLES[name] for name in shown)], body) if policies else []


def _difference_table(methods: dict[str, list[ResultRow]]) -> list[str]:
    tested = any(row.tests for group in methods.values() for row in group)
    body = []
    for metric, baseline, wanted in _COMPARISONS:
        for name, group in methods.items():
            found = [row.differences.get(baseline, {}).get(metric) for row in group]
            triples = [triple for triple in found if triple is not None]
            if triples and (wanted is None or name in wanted):
                cells = [name, baseline, TITLES[metric], *_difference_cells(triples)]
                body.append([*cells, _adjusted(group, baseline, metric)] if tested else cells)
    head = ["Method", "Against", "Metric", "Difference", "Seeds", *(["Holm p"] if tested else [])]
    return _grid(head, body) if body else []


def _adjusted(rows: Sequence[ResultRow], baseline: str, metric: str) -> str:
    found = [row.tests[baseline][metric][1] for row in rows if metric in row.tests.get(baseline, {})]
    return p_text(max(found, default=None))


def _difference_cells(triples: Sequence[tuple[float, float, float]]) -> list[str]:
    ahead = sum(low > 0 for _, low, _ in triples)
    behind = sum(high < 0 for _, _, high in triples)
    mean = _spread([mean for mean, _, _ in triples], "+.4f")
    interval = f" [{triples[0][1]:+.4f}, {triples[0][2]:+.4f}]" if len(triples) == 1 else ""
    return [mean + interval, f"{ahead} ahead, {behind} behind, {len(triples) - ahead - behind} unclear"]


def _figure(rows: Sequence[ResultRow], column: Column) -> str:
    values = [row.metrics[column.key] for row in rows if column.key in row.metrics]
    return _spread(values, column.format) if values else "-"


def _cell(rows: Sequence[ResultRow], metric: str) -> str:
    values = [row.metrics[metric] for row in rows if metric in row.metrics]
    return _spread(values, ".3f") if values else "-"


def _spread(values: Sequence[float], digits: str) -> str:
    mean = f"{statistics.fmean(values):{digits}}"
    return f"{mean} ± {statistics.stdev(values):{digits.lstrip('+')}}" if len(values) > 1 else mean


def _history(rows: Sequence[ResultRow]) -> str:
    return ", ".join(sorted({"-" if row.history is None else str(row.history) for row in rows}))


def _mean_minutes(rows: Sequence[ResultRow]) -> str:
    return f"{statistics.fmean(row.minutes for row in rows):.1f}"


def _grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in body]
    return [*lines, ""]
