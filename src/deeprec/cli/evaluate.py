"""`deeprec evaluate`: held-out evaluation of a run."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from deeprec.cli.options import DEFAULT_RUN, JsonOption, RunOption


def evaluate(
    run: RunOption = DEFAULT_RUN,
    part: Annotated[str, typer.Option(help="`test` or `validation`.")] = "test",
    methods: Annotated[
        str | None,
        typer.Option(help="Comma-separated, such as trm,recommendation [default: all that were trained]"),
    ] = None,
    users: Annotated[int | None, typer.Option(min=1, help="A random sample of this many users.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rank for every held-out user with every method, and compare on the same users.

    A whole evaluation is kept in the run for the report. With --methods or --users it is only
    printed, and the run's own stays as it is.

    Example: deeprec evaluate --run runs/ml-100k --methods trm,recommendation --users 200
    """
    from deeprec.data.stage import load_data
    from deeprec.errors import EvaluationError
    from deeprec.evaluation.stage import evaluate_run, run_evaluation
    from deeprec.pipeline import build_recommenders, trained_methods
    from deeprec.progress import show_progress
    from deeprec.run import Run
    from deeprec.trm.stage import load_trm

    if part not in ("test", "validation"):
        raise EvaluationError(f"--part {part}: choose `test` or `validation`")
    chosen: Literal["test", "validation"] = "test" if part == "test" else "validation"
    opened = Run.open(run)
    dataset = load_data(opened)
    trm = load_trm(opened, dataset)
    asked = [name.strip() for name in (methods or "").split(",") if name.strip()]
    names = asked or trained_methods(opened)
    with show_progress():
        recommenders = build_recommenders(opened, names)
        if methods is None and users is None:
            summary = run_evaluation(opened, dataset, trm, recommenders, chosen)
        else:
            sample = {"max_users": users} if users is not None else {}
            config = opened.config.evaluation.model_copy(update=sample)
            summary = evaluate_run(opened, dataset, trm, list(recommenders.values()), chosen, config).summary
    if as_json:
        typer.echo(summary.model_dump_json(indent=1))
        return
    from rich.console import Console

    from deeprec.evaluation.terminal import render_summary

    Console().print(render_summary(summary))
