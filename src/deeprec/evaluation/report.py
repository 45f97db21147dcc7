"""The report of a run: one HTML page that needs no network and no script.

Everything in it is read from the run folder. The template escapes all text; charts escape
their own.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from deeprec.data.stage import load_data
from deeprec.data.summary import Summary, summarize
from deeprec.disk import read_jsonl, write_atomically
from deeprec.evaluation.charts import Series, bar_chart, line_chart, spark_line
from deeprec.evaluation.columns import BEYOND, COST, RANKING, TITLES, p_text
from deeprec.evaluation.curves import STAGE_TITLES, Panel, fit_panels, rl_panels
from deeprec.evaluation.grids import methods_grid, notes, slice_grid, slice_notes
from deeprec.evaluation.results import rerun_command
from deeprec.evaluation.stage import evaluation_folder, load_evaluation
from deeprec.evaluation.summary import Behaviour, EvaluationSummary, MethodSummary
from deeprec.evaluation.wording import (
    STOP_TITLES,
    describe_interval,
    describe_mean,
    exploring,
    final_policy,
    learning,
    ordered_methods,
    standing,
    title_of,
)
from deeprec.methods import ORACLE, TRM
from deeprec.metrics import RANKING_METRICS
from deeprec.provenance import environment
from deeprec.rl.health import AVERAGED, Finding, examine, format_figure, overall
from deeprec.run import Run
from deeprec.stages import COLD_START, EVALUATION, RECOMMENDATION, RL_STAGES

FILE = "report.html"
_POLICY_COLUMNS = (
    "retrievals", "pool_recall", f"reward/{COLD_START}", f"reward/{RECOMMENDATION}", f"sampled/{RECOMMENDATION}",
)  # fmt: skip
_SLICED = ("recall@10", "ndcg@10")
_FAULTS = 10  # kinds of malformed text that are listed
_REWARD_TITLES = {COLD_START: "= stage 1", RECOMMENDATION: "= stage 2"}


@dataclass(frozen=True)
class Tile:
    """A headline figure."""

    label: str
    value: str
    note: str
    style: str = ""


def write_report(run: Run) -> Path:
    """Write report/report.html of an evaluated run and return its path.

    Raises EvaluationError or RunError naming the command that is still missing.
    """
    summary = load_evaluation(run)
    file = run.report / FILE
    write_atomically(file, render_report(run, summary, summarize(load_data(run))))
    run.keep(EVALUATION, file)
    return file


def render_report(run: Run, summary: EvaluationSummary, data: Summary) -> str:
    """The page as text."""
    # Imported here: `deeprec --help` must not pay for it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment_ = Environment(
        loader=PackageLoader("deeprec.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment_.get_template("report.html.jinja").render(**_context(run, summary, data))


def _context(run: Run, summary: EvaluationSummary, data: Summary) -> dict[str, Any]:
    policy = final_policy(summary)
    records = read_jsonl(run.metrics)
    methods = ordered_methods(summary)
    policies = [method for method in methods if method.behaviour]
    columns = [name for name in _POLICY_COLUMNS if any(name in method.metrics for method in policies)]
    made = summary.environment or environment()
    return {
        "summary": summary,
        "seed": run.config.seed,
        "version": environment()["versions"].get("deeprec", ""),
        "tiles": _tiles(summary, policy),
        "sentences": [text for text in (standing(summary), learning(summary), exploring(summary)) if text],
        "methods": methods,
        "policies": policies,
        "policy_columns": columns,
        "lists": methods_grid(summary, (*BEYOND, *COST)),
        "slices": [slice_grid(summary, column) for column in RANKING if column.key in _SLICED],
        "slice_notes": slice_notes(summary),
        "notes": notes(summary),
        "p_text": p_text,
        "other_metrics": [name for name in RANKING_METRICS if name != "ndcg@10"],
        "titles": TITLES,
        "reward_titles": _REWARD_TITLES,
        "stop_titles": STOP_TITLES,
        "title_of": title_of,
        "baseline": TRM,
        "describe_interval": describe_interval,
        "describe_mean": describe_mean,
        "final": policy.name if policy else "",
        **_behaviour_charts(policy.behaviour if policy else None),
        "panels": rl_panels(records),
        "fit_panels": fit_panels(records),
        "chart": _chart,
        "health": _health(run, records),
        "averaged": AVERAGED,
        "format_figure": format_figure,
        "trajectories": _trajectories(run, policy),
        "data": _data_rows(data),
        "stages": [(name, stage) for name, stage in run.finished().items()],
        "environment": made,
        "commands": _commands(run),
        "configuration": (run.folder / "run.toml").read_text(encoding="utf-8"),
    }


def _tiles(summary: EvaluationSummary, policy: MethodSummary | None) -> list[Tile]:
    tiles = []
    if policy is not None:
        difference = policy.differences.get(TRM, {}).get("ndcg@10")
        style = difference.verdict if difference and difference.verdict != "no clear difference" else ""
        note = f"{difference.verdict} ({difference.mean:+.4f})" if difference else "no TRM beside it"
        tiles.append(Tile("DeepRec NDCG@10", f"{policy.metrics['ndcg@10'].mean:.4f}", note, style))
    for name in (TRM, ORACLE):
        if name in summary.methods:
            mean = summary.methods[name].metrics["ndcg@10"].mean
            tiles.append(Tile(f"{title_of(name)} NDCG@10", f"{mean:.4f}", "same users"))
    if policy is not None and policy.behaviour is not None:
        metrics, behaviour = policy.metrics, policy.behaviour
        tiles.append(Tile("Valid trajectories", f"{metrics['validity'].mean:.1%}", "the rest are misses"))
        tiles.append(Tile("Retrievals a user", f"{metrics['retrievals'].mean:.2f}", "chosen by the policy"))
        if behaviour.pool:
            last = behaviour.pool[-1]
            verdict = last.gain.verdict
            tiles.append(
                Tile(
                    "Target retrieved",
                    f"{last.recall:.1%}",
                    f"plain top of the same size: {last.matched_recall:.1%}",
                    verdict if verdict != "no clear difference" else "",
                )
            )
    return tiles


def _behaviour_charts(behaviour: Behaviour | None) -> dict[str, Any]:
    if behaviour is None:
        return {"final_behaviour": None}
    turns = [(str(number), float(users)) for number, users in sorted(behaviour.turns.items())]
    stops = [(STOP_TITLES.get(name, name), float(users)) for name, users in behaviour.stop_reasons.items()]
    pool = behaviour.pool
    lines = (
        Series("DeepRec's pool", tuple((turn.turn, turn.recall) for turn in pool)),
        Series("plain top, mean size", tuple((turn.turn, turn.plain_recall) for turn in pool)),
        Series("plain top, each user's size", tuple((turn.turn, turn.matched_recall) for turn in pool)),
    )
    return {
        "final_behaviour": behaviour,
        "faults": list(behaviour.format_errors.items())[:_FAULTS],
        "turns_chart": bar_chart(turns, "retrievals", "Users by number of retrievals"),
        "stops_chart": bar_chart(stops, "stop reason", "Users by stop reason"),
        "pool_chart": line_chart(lines, "turns so far", "Pool recall by turn", zero=True),
    }


def _health(run: Run, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each stage of RL that was trained: its title, its sentence, and findings with their curves."""
    found = []
    for stage in RL_STAGES:
        rows = [row for row in records if row.get("stage") == stage]
        findings = examine(rows, getattr(run.config.rl, stage).weights)
        if findings:
            shown = [(finding, _spark(finding)) for finding in findings]
            title = STAGE_TITLES[stage].capitalize()
            found.append({"title": title, "sentence": overall(findings), "findings": shown})
    return found


def _spark(finding: Finding) -> Markup:
    return spark_line(finding.points, f"{finding.title} by iteration")


def _chart(panel: Panel) -> Markup:
    return line_chart(panel.series, panel.x_label, panel.title, panel.boundaries)


def _trajectories(run: Run, policy: MethodSummary | None) -> list[dict[str, Any]]:
    """Records of the final policy, with what the template asks of them worked out."""
    records = read_jsonl(evaluation_folder(run) / "trajectories.jsonl")
    chosen = [record for record in records if policy is not None and record["method"] == policy.name]
    return [_shown(record) for record in chosen]


def _shown(record: Mapping[str, Any]) -> dict[str, Any]:
    # `labels` are what the lines resolve to, None for a line that names no item.
    labels: Sequence[str | None] = record["labels"]
    distinct = [label for label in dict.fromkeys(labels) if label is not None]
    target = record["target"]
    valid = record["stop_reason"] == "finished" and not record["format_errors"]
    return {
        **record,
        "place": distinct.index(target) + 1 if valid and target in distinct else None,
        "retrieved": any(target in turn["retrieved"] for turn in record["turns"]),
        "lines": [
            {"text": text, "resolved": label is not None, "is_target": label == target}
            for text, label in zip(record["lines"], labels, strict=True)
        ],
    }


def _data_rows(data: Summary) -> list[tuple[str, str]]:
    rows = []
    for name, value in data.to_dict().items():
        if name.endswith("timestamp"):
            shown = "-" if value is None else f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d}"
        elif isinstance(value, float):
            shown = f"{value:.4%}" if name == "density" else f"{value:,.0f}"
        elif isinstance(value, dict):
            continue
        else:
            shown = f"{value:,}" if isinstance(value, int) else str(value)
        rows.append((name.replace("_", " "), shown))
    for part, targets in data.targets.items():
        rows.append(
            (f"targets in {part}", f"{targets.count:,} ({targets.cold:,} of items nobody has in fit)")
        )
    return rows


def _commands(run: Run) -> list[str]:
    place = f"--run {shlex.quote(run.folder.name)}"
    return [
        f"{rerun_command(run.config)} {place}",
        f"deeprec evaluate {place}",
        f"deeprec report {place}",
    ]
