"""`deeprec ablate`: what each part of the method is worth, as one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.cli.options import DEFAULT_RUN, JsonOption, RunOption, SetOption, ThreadsOption, print_json

if TYPE_CHECKING:
    from deeprec.ablation.runs import Plan
    from deeprec.ablation.table import AblationRow


def ablate(
    run: RunOption = DEFAULT_RUN,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Variant to run, beside the full method; repeatable [default: all]"),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", metavar="NAME:KEY=VALUE,...", help="A variant of your own; repeatable."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated seeds of policy and RL.")] = "0,1,2",
    methods: Annotated[
        str, typer.Option(help="Policies to evaluate beside the TRM; the latest one is shown.")
    ] = "warm_start,recommendation",
    part: Annotated[str, typer.Option(help="`test` or `validation`.")] = "test",
    results: Annotated[
        Path | None, typer.Option(help="Folder to write the table to as well, e.g. results/tables.")
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Train variants of a run that each lack one part, with several seeds, and compare them.

    The run needs its data and a fitted TRM. Each variant and seed is a run of its own in
    RUN/ablations; stages that another one has finished with the same inputs are taken from it,
    finished sub-runs are not run again, and an interrupted one goes on with the same command.
    The same command in a second process shares the work.

    Example: deeprec ablate --run runs/ml-100k --only no-stage-1 --only no-rank --seeds 0,1,2
    """
    from deeprec.ablation.runs import Plan, plan_configs, run_all
    from deeprec.ablation.table import ablation_rows, command_words, figure_table
    from deeprec.ablation.variants import choose_variants, parse_seeds, parse_variant
    from deeprec.config import override_config
    from deeprec.errors import EvaluationError
    from deeprec.evaluation.tables import write_table
    from deeprec.progress import show_progress
    from deeprec.run import Run

    if part not in ("test", "validation"):
        raise EvaluationError(f"--part {part}: choose `test` or `validation`")
    opened = Run.open(run)
    plan = Plan(
        base=opened,
        config=override_config(opened.config, overrides or ()),
        variants=tuple(choose_variants(only or (), [parse_variant(text) for text in variant or ()])),
        seeds=tuple(parse_seeds(seeds)),
        methods=tuple(name.strip() for name in methods.split(",") if name.strip()),
        part="test" if part == "test" else "validation",
    )
    configs, void = plan_configs(plan, only or ())
    with show_progress() as console:
        found = run_all(plan, configs, console.rule)
    rows = ablation_rows(plan, found)
    words = {
        "only": only,
        "variant": variant,
        "seeds": seeds,
        "methods": methods,
        "part": part,
        "set": overrides,
    }
    table = figure_table(plan, rows, found, command_words(words))
    write_table(plan.folder / "table.json", table)
    if results is not None:
        write_table(results / f"{table.dataset}-ablations.json", table)
    if void:
        told = f"Not run, since this run has nothing of what they take away: {', '.join(void)}."
        typer.echo(told, err=True)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        _print(plan, rows)
    if any(row.failed for row in rows):
        raise typer.Exit(1)


def _print(plan: Plan, rows: list[AblationRow]) -> None:
    """The table in parts, so that each fits 80 columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from deeprec.ablation.table import COLUMNS, cells

    console = Console()
    for shown in ((1, 2, 3), (4, 5), (6, 7, 8), (9, 10, 11, 12)):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        table.add_column("variant", no_wrap=True)
        for column in shown:
            table.add_column(COLUMNS[column], justify="right")
        for row in rows:
            values = cells(row)
            table.add_row(str(values[0]), *(_text(values[column]) for column in shown))
        console.print(table)
    for row in rows:
        for seed, reason in row.failed.items():
            console.print(f"{row.variant}, seed {seed}, failed: {reason}", highlight=False)
    console.print(f"Sub-runs and the table as JSON: {plan.folder}", highlight=False)


def _text(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
