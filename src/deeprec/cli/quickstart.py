"""`deeprec quickstart`: every stage, from data to report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deeprec.cli.options import (
    DEFAULT_RUN,
    JsonOption,
    RunOption,
    SetOption,
    ThreadsOption,
    beginning_settings,
)


def quickstart(
    run: RunOption = DEFAULT_RUN,
    data: Annotated[str | None, typer.Option(help="Data set: `synthetic`, `ml-100k`, ...")] = None,
    source: Annotated[str | None, typer.Option(help="Path of its files; none: download.")] = None,
    preset: Annotated[str | None, typer.Option(help="Complete run shipped with deeprec.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Prepare data, fit the TRM, train the policy in two stages, evaluate, and write a report.

    Finished stages are not run again: after an interruption the same command goes on.

    Example: deeprec quickstart --data ml-100k --source ml-100k.zip --run runs/ml-100k
    """
    from deeprec.locks import writing
    from deeprec.pipeline import run_pipeline
    from deeprec.progress import show_progress
    from deeprec.run import Run

    settings = beginning_settings(data, source, preset, config, overrides)
    with writing(run), show_progress() as console:
        folder = Run.create(run, settings)
        report = run_pipeline(folder, lambda stage: console.rule(stage.replace("_", " ")))
    if as_json:
        typer.echo((folder.report / "evaluation.json").read_text(encoding="utf-8"))
        return
    from rich.console import Console

    from deeprec.evaluation.terminal import render_evaluation

    Console().print(render_evaluation(folder))
    typer.echo(f"\nReport: {report}\nNow try: deeprec recommend --run {run} --user ID")
