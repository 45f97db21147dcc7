"""`deeprec train`: the two stages of reinforcement learning."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deeprec import stages
from deeprec.cli.options import (
    DEFAULT_RUN,
    JsonOption,
    RunOption,
    SetOption,
    ThreadsOption,
    open_run,
    print_json,
)

if TYPE_CHECKING:
    from deeprec.rl.health import Finding
    from deeprec.run import Run

# Figure of a row of the log -> how it is called in the table.
_SHOWN = {
    "reward": "mixed reward",
    "validity": "valid trajectories",
    "retrievals": "retrievals",
    "preference_diversity": "preference diversity",
    "commonest_preference": "share of commonest preference",
    "pool_recall": "target among retrieved",
    "hit_rate": "target in list",
    "tokens": "sampled tokens",
    "entropy": "entropy",
    "heldout/reward": "held-out reward",
    "heldout/validity": "held-out validity",
    "heldout/recall@10": "held-out Recall@10",
    "heldout/ndcg@10": "held-out NDCG@10",
}
_AVERAGED = 5  # iterations at either end of a stage: one alone is noisy


class Stages(StrEnum):
    """Which stages to run."""

    BOTH = "both"
    COLD_START = stages.COLD_START
    RECOMMENDATION = stages.RECOMMENDATION


def train(
    run: RunOption = DEFAULT_RUN,
    stage: Annotated[Stages, typer.Option(help="One stage, or both in order.")] = Stages.BOTH,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Train the policy by reinforcement learning; goes on where an interrupted run stopped.

    Prints how healthy each stage was; of one that failed, too.

    Example: deeprec train --run runs/ml-100k --stage recommendation --set rl.learning_rate=5e-5
    """
    from deeprec.errors import RewardError, TrainingError
    from deeprec.evaluation.heldout import build_heldout
    from deeprec.pipeline import load_stages
    from deeprec.progress import show_progress
    from deeprec.rl.stage import run_rl

    with open_run(run, overrides) as opened:
        dataset, trm = load_stages(opened)
        chosen = [name for name in stages.RL_STAGES if stage in (Stages.BOTH, name)]
        for name in chosen:
            try:
                with show_progress():
                    run_rl(opened, dataset, trm, name, build_heldout(opened, dataset, trm, name))
            except (RewardError, TrainingError):
                _print_health(opened, name, to_stderr=True)
                raise
        summaries = {name: _summary(opened, name) for name in chosen}
        if as_json:
            print_json(summaries)
            return
        for name in chosen:
            _print_table(name, summaries[name])
            _print_health(opened, name)


def _summary(run: Run, stage: str) -> dict[str, Any]:
    """Figures at both ends of a stage, and what the run says of it."""
    from deeprec.disk import read_jsonl

    rows = [row for row in read_jsonl(run.metrics) if row.get("stage") == stage]
    figures = {}
    for name in _SHOWN:
        values = [row[name] for row in rows if name in row]
        if values:
            # Held-out figures are few and less noisy: the first and the last one.
            count = 1 if name.startswith("heldout/") else min(_AVERAGED, len(values))
            figures[name] = {
                "first": sum(values[:count]) / count,
                "last": sum(values[-count:]) / count,
            }
    record = run.finished()[stage]
    health = [
        {
            "figure": finding.figure,
            **{end: value if math.isfinite(value) else None for end, value in finding.ends.items()},
            "verdict": str(finding.verdict),
        }
        for finding in _findings(run, stage)
    ]
    return {
        "policy": str(run.policy(stage)),
        "steps": record["steps"],
        "minutes": record["minutes"],
        "selection": record["selection"],
        "figures": figures,
        "health": health,
    }


def _findings(run: Run, stage: str) -> list[Finding]:
    from deeprec.disk import read_jsonl
    from deeprec.rl.health import examine

    rows = [row for row in read_jsonl(run.metrics) if row.get("stage") == stage]
    return examine(rows, getattr(run.config.rl, stage).weights)


def _print_table(stage: str, summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    selection = summary["selection"]
    table = Table(
        title=f"{stage}: {summary['steps']} iterations, {summary['minutes']:.1f} minutes, "
        f"{selection[f'{stage}_examples']} examples ({selection['too_hard']} of "
        f"{selection['examples']} too hard)",
        title_justify="left",
    )
    table.add_column("")
    table.add_column("begin", justify="right")
    table.add_column("end", justify="right")
    for name, ends in summary["figures"].items():
        table.add_row(_SHOWN[name], f"{ends['first']:.3f}", f"{ends['last']:.3f}")
    console = Console()
    console.print(table)
    console.print(
        f"begin, end: mean of {_AVERAGED} iterations; held-out: first and last. {summary['policy']}"
    )


def _print_health(run: Run, stage: str, *, to_stderr: bool = False) -> None:
    """The verdict on each figure of a stage, and what to do about those that are not good."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from deeprec.rl.health import AVERAGED, Verdict, format_figure, overall

    findings = _findings(run, stage)
    if not findings:
        return
    table = Table(title=f"{stage}: health", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in ("begin", "latest"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    styles = {Verdict.GOOD: "green", Verdict.WATCH: "yellow", Verdict.BAD: "red", Verdict.NONE: ""}
    for finding in findings:
        table.add_row(
            finding.title,
            format_figure(finding.begin),
            format_figure(finding.latest),
            Text(finding.verdict, style=styles[finding.verdict]),
        )
    console = Console(stderr=to_stderr)
    console.print(table)
    console.print(f"begin, latest: means of {AVERAGED} iterations.")
    advised = [finding for finding in findings if finding.advice]
    for finding in advised:
        console.print(f"- {finding.title}: {finding.advice}", style=styles[finding.verdict], markup=False)
    if not advised:
        console.print(overall(findings))
    console.print()
