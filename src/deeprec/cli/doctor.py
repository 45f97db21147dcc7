"""`deeprec doctor`: what stands on this machine, and whether a run is whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deeprec.cli.options import JsonOption, print_json

if TYPE_CHECKING:
    from deeprec.doctor import RunState


def doctor(
    folder: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="Run folder to check.")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="The same, as other commands take it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Versions, devices, extras and disk; of a run, whether it fits together and leaks nothing.

    A run's own files must prove that no target was seen by a fit, a warm start, an RL pool or a prompt,
    and that ids, ties and hashes agree. Exits with 1 when the run has a problem.

    Example: deeprec doctor runs/ml-100k
    """
    from dataclasses import asdict

    from deeprec.audit.findings import Verdict
    from deeprec.doctor import inspect_machine, inspect_run
    from deeprec.errors import RunError

    if folder is not None and run is not None and folder != run:
        raise RunError(f"two runs, {folder} and {run}; name one")
    chosen = folder or run
    state = None if chosen is None else inspect_run(chosen)
    machine = inspect_machine()
    if as_json:
        print_json({"machine": machine, "run": asdict(state) if state else None})
    else:
        _print_machine(machine)
        if state:
            _print_run(state)
    if state and (state.problems or any(one.verdict is Verdict.PROBLEM for one in state.findings)):
        raise typer.Exit(1)


def _print_machine(machine: dict[str, Any]) -> None:
    typer.echo(f"Python     {machine['python']} on {machine['platform']}")
    for name, version in machine["versions"].items():
        typer.echo(f"  {name:<14} {version or 'not installed'}")
    memory = machine["memory_bytes"]
    typer.echo(f"CPU        {machine['cores']} cores" + (f", {_gib(memory)}" if memory else ""))
    typer.echo(f"threads    {machine['threads']}")
    gpus = [f"{gpu['name']} ({_gib(gpu['memory_bytes'])})" for gpu in machine["gpus"]]
    typer.echo(f"GPU        {', '.join(gpus) or 'none that torch can use'}")
    disk = machine["disk"]
    typer.echo(
        f"Disk       {_gib(disk['free_bytes'])} free at {disk['path']}"
        + ("; little for checkpoints, free some or run elsewhere" if disk["low"] else "")
    )
    typer.echo(f"Downloads  {machine['cache']} (set DEEPREC_CACHE to move it)")
    typer.echo("Extras")
    for extra in machine["extras"]:
        parts = [f"{name} {version}" for name, version in extra["installed"].items()]
        if extra["missing"]:
            parts.append(f"lacks {', '.join(extra['missing'])}; to have it: {extra['install']}")
        typer.echo(f"  {extra['name']:<14} {', '.join(parts)}")


def _print_run(state: RunState) -> None:
    typer.echo(f"Run        {state.folder} on {state.data}")
    for stage in state.stages:
        done = f"finished {stage.time}, {stage.minutes} minutes" if stage.time else "not yet"
        typer.echo(f"  {stage.name:<14} {done}")
    colours = {"proven": "green", "problem": "red", "unproven": "yellow"}
    for finding in state.findings:
        typer.secho(f"  {finding.verdict:<9} ", fg=colours[finding.verdict], nl=False)
        typer.echo(f"{finding.check}: {finding.text}")
    for problem in state.problems:
        typer.secho(f"  problem: {problem}", fg="red")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
