"""The table of an ablation: figures of the final policy, means over seeds, differences on the same users."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from deeprec.ablation.runs import Plan, SubRun
from deeprec.ablation.variants import FULL, Variant
from deeprec.errors import EvaluationError
from deeprec.evaluation.bootstrap import Difference, paired_differences
from deeprec.evaluation.results import rerun_command
from deeprec.evaluation.stage import SEED, evaluation_folder, load_evaluation
from deeprec.evaluation.summary import EvaluationSummary
from deeprec.evaluation.tables import Cell, FigureTable
from deeprec.methods import TRM
from deeprec.provenance import environment
from deeprec.stages import DATA, EVALUATION, WARM_START

METRICS = ("ndcg@10", "recall@10")
_POLICY_METRICS = ("retrievals", "validity", "pool_recall")


class Spread(BaseModel):
    """Mean over seeds and standard deviation between them (n - 1; None with one seed)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value per seed."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(mean=statistics.fmean(values), deviation=deviation)


class AblationRow(BaseModel):
    """A variant: `figures` by metric; `differences` by what it is compared with, then by metric.

    A difference is that of each user's mean over the seeds that both have; its interval is over
    users. `diversity` is 1 - mean pairwise cosine of a trajectory's preferences; `dependence`
    the entropy of the preferences over users as a share of the largest possible (0: everyone is
    asked the same, 1: everyone something else); `commonest` the share of the commonest.
    `failed` says for which seeds training failed, and why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    taken_away: str
    method: str
    seeds: tuple[int, ...]
    figures: dict[str, Spread] = {}
    differences: dict[str, dict[str, Difference]] = {}
    diversity: float | None = None
    dependence: float | None = None
    commonest: float | None = None
    failed: dict[int, str] = {}
    minutes: float = 0.0  # of training and evaluation, over all seeds; what was shared counts nothing


def ablation_rows(plan: Plan, found: Sequence[SubRun]) -> list[AblationRow]:
    """One row per variant, in the order of the plan, after one for the TRM alone.

    Raises EvaluationError where sub-runs were not evaluated on the same users.
    """
    results = {(sub.variant, sub.seed): _Result(plan, sub) for sub in found if sub.failure is None}
    if len({result.summary.targets for result in results.values()}) > 1:
        raise EvaluationError(
            f"{plan.folder}: sub-runs were evaluated on different users; delete their report folders, then run again"
        )
    full = [results[FULL, seed] for seed in plan.seeds if (FULL, seed) in results]
    rows = [_trm_row(full)] if full else []
    names = dict.fromkeys(sub.variant for sub in found)
    for variant in plan.variants:
        if variant.name in names:
            rows.append(_row(plan, variant, [sub for sub in found if sub.variant == variant.name], results))
    return rows


class _Result:
    """What the evaluation of a finished sub-run left."""

    def __init__(self, plan: Plan, sub: SubRun) -> None:
        self.summary: EvaluationSummary = load_evaluation(sub.run, plan.part)
        self.per_user = pl.read_parquet(evaluation_folder(sub.run, plan.part) / "per_user.parquet")
        finished = sub.run.finished().items()
        trained = sum(
            float(record["minutes"]) for stage, record in finished
            if "shared" not in record and stage not in (DATA, EVALUATION)
        )  # fmt: skip
        self.minutes = trained + self.summary.minutes

    def values(self, method: str) -> NDArray[np.float64]:
        """(U, 2): the metrics of each user, users by id."""
        rows = self.per_user.filter(pl.col("method") == method).sort("user_id")
        return rows.select(METRICS).to_numpy().astype(np.float64)


def _trm_row(full: Sequence[_Result]) -> AblationRow:
    metrics = full[0].summary.method(TRM).metrics
    return AblationRow(
        variant=TRM,
        taken_away="The policy: the TRM's plain list.",
        method=TRM,
        seeds=(),
        figures={name: Spread(mean=metrics[name].mean, deviation=None) for name in METRICS},
    )


def _row(
    plan: Plan, variant: Variant, subs: Sequence[SubRun], results: dict[tuple[str, int], _Result]
) -> AblationRow:
    own = {sub.seed: results[sub.variant, sub.seed] for sub in subs if sub.failure is None}
    failed = {sub.seed: sub.failure for sub in subs if sub.failure is not None}
    head = {"variant": variant.name, "taken_away": variant.taken_away, "method": plan.final}
    if not own:
        return AblationRow(**head, seeds=(), failed=failed)
    method = plan.final
    summaries = [result.summary.method(method) for result in own.values()]
    behaviours = [found.behaviour for found in summaries if found.behaviour is not None]
    spread = [entry.dependence for entry in behaviours if entry.dependence is not None]
    full = {seed: results[FULL, seed] for seed in own if (FULL, seed) in results}
    pairs = {TRM: [(result.values(method), result.values(TRM)) for result in own.values()]}
    if variant.name != FULL:
        pairs[FULL] = [(own[seed].values(method), found.values(method)) for seed, found in full.items()]
    if WARM_START in plan.methods and method != WARM_START:
        pairs[WARM_START] = [(found.values(method), found.values(WARM_START)) for found in own.values()]
    resamples = plan.config.evaluation.bootstrap
    return AblationRow(
        **head,
        seeds=tuple(own),
        figures={
            name: Spread.of([found.metrics[name].mean for found in summaries])
            for name in (*METRICS, *_POLICY_METRICS)
        },
        differences={
            name: mean_differences(entries, resamples) for name, entries in pairs.items() if entries
        },
        diversity=_mean(entry.diversity for entry in behaviours),
        dependence=_mean(entry.entropy / entry.ceiling for entry in spread if entry.ceiling),
        commonest=_mean(entry.commonest_share for entry in spread),
        failed=failed,
        minutes=round(sum(result.minutes for result in own.values()), 2),
    )


def mean_differences(
    pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], resamples: int
) -> dict[str, Difference]:
    """Left minus right of each metric, each user's mean over the seeds; the interval is over users.

    One pair of arrays (U, 2) a seed, columns in the order of METRICS, users in the same order.
    """
    left = np.mean([own for own, _ in pairs], axis=0)
    right = np.mean([other for _, other in pairs], axis=0)
    return dict(zip(METRICS, paired_differences(left, right, resamples, SEED), strict=True))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


COLUMNS = (
    "variant", "seeds", "NDCG@10", "Recall@10", "NDCG@10 - full", "NDCG@10 - trm", "NDCG@10 - warm start",
    "retrievals", "valid", "pool recall", "diversity", "dependence", "commonest",
)  # fmt: skip


def cells(row: AblationRow) -> tuple[Cell, ...]:
    """A row as it is shown, parallel to COLUMNS."""
    differences = [row.differences.get(name, {}).get("ndcg@10") for name in (FULL, TRM, WARM_START)]
    return (
        row.variant,
        ", ".join(map(str, row.seeds)) or ("failed" if row.failed else "-"),
        *(_spread_cell(row.figures.get(name)) for name in METRICS),
        *(_difference_cell(found) for found in differences),
        *(round(row.figures[name].mean, 4) if name in row.figures else None for name in _POLICY_METRICS),
        *(None if value is None else round(value, 4) for value in (row.diversity, row.dependence, row.commonest)),
    )  # fmt: skip


def _spread_cell(value: Spread | None) -> str | None:
    if value is None:
        return None
    return f"{value.mean:.4f}" + ("" if value.deviation is None else f" ± {value.deviation:.4f}")


def _difference_cell(value: Difference | None) -> str | None:
    return None if value is None else f"{value.mean:+.4f} [{value.low:+.4f}, {value.high:+.4f}]"


def figure_table(plan: Plan, rows: Sequence[AblationRow], found: Sequence[SubRun], words: str) -> FigureTable:
    """The rows as a table for the results page; `words` are the options of the command that made it.

    Raises EvaluationError when no sub-run was finished.
    """
    finished = next((sub for sub in found if sub.failure is None), None)
    if finished is None:
        reasons = "; ".join(f"{sub.variant}, seed {sub.seed}: {sub.failure}" for sub in found)
        raise EvaluationError(f"{plan.folder}: every sub-run failed ({reasons})")
    summary, here = load_evaluation(finished.run, plan.part), environment()
    return FigureTable(
        dataset=summary.dataset,
        title="Ablations",
        note=_note(plan, rows),
        part=plan.part,
        targets=summary.targets,
        users=summary.users,
        seed=finished.run.config.fit_seed,
        columns=COLUMNS,
        rows=tuple(cells(row) for row in rows),
        command=f"{rerun_command(plan.base.config)}\ndeeprec ablate {words}",
        machine=here["machine"],
        commit=here["commit"],
        versions=here["versions"],
    )


def _note(plan: Plan, rows: Sequence[AblationRow]) -> str:
    taken = " ".join(f"{row.variant}: {row.taken_away}" for row in rows if row.variant != FULL)
    failed = " ".join(
        f"{row.variant}, seed {seed}, failed: {reason}."
        for row in rows
        for seed, reason in row.failed.items()
    )
    return (
        f"Figures of the policy after {plan.final}, greedy; mean over seeds ± their standard deviation. Differences "
        "are paired (same users, same seeds), with the 95% bootstrap interval over users. Dependence: entropy of the "
        "preferences over users as a share of the largest possible. All share one TRM, fitted with the seed above. "
        f"What is taken away: {taken} {failed}"
    ).strip()


def command_words(options: Mapping[str, str | Sequence[str] | None]) -> str:
    """Options of a command line, as they are typed; those that were not given are left out."""
    words = []
    for name, value in options.items():
        for entry in [value] if isinstance(value, str) else (value or ()):
            words.append(f"--{name} {shlex.quote(entry)}")
    return " ".join(words)
