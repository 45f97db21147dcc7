"""`deeprec report`: the HTML page of an evaluated run."""

from __future__ import annotations

from typing import Annotated

import typer

from deeprec.cli.options import DEFAULT_RUN, JsonOption, RunOption


def report(
    run: RunOption = DEFAULT_RUN,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write report/report.html, one self-contained page, and print its main tables.

    Example: deeprec report --run runs/ml-100k --open
    """
    from deeprec.evaluation.report import write_report
    from deeprec.evaluation.stage import load_evaluation
    from deeprec.run import Run

    opened = Run.open(run)
    page = write_report(opened)
    if open_page:
        typer.launch(page.resolve().as_uri())
    if as_json:
        typer.echo(load_evaluation(opened).model_dump_json(indent=1))
        return
    from rich.console import Console

    from deeprec.evaluation.terminal import render_evaluation

    Console().print(render_evaluation(opened))
    typer.echo(f"\nReport: {page}")
