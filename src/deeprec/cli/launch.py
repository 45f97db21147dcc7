"""`deeprec launch`: a stage of RL for software that trains on many GPUs."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec import stages
from deeprec.cli.options import (
    DEFAULT_RUN,
    RunOption,
    SetOption,
    ThreadsOption,
    WithRay,
    beginning_settings,
    open_run,
)

if TYPE_CHECKING:
    from deeprec.launch.machines import Machines
    from deeprec.launch.openrlhf import Launch
    from deeprec.stages import RLStage

app = typer.Typer(help="Hand a stage of RL to software for many GPUs.", no_args_is_help=True)
NodesOption = Annotated[int, typer.Option(min=1, help="Machines.")]
GpusOption = Annotated[int, typer.Option(min=1, help="GPUs of each machine.")]


class Stage(StrEnum):
    """A stage of RL."""

    COLD_START = stages.COLD_START
    RECOMMENDATION = stages.RECOMMENDATION


@app.command("openrlhf", cls=WithRay)
def openrlhf(
    run: RunOption = DEFAULT_RUN,
    stage: Annotated[Stage, typer.Option(help="Stage of RL.")] = Stage.COLD_START,
    preset: Annotated[
        str | None, typer.Option(help="Begin the run with this preset, and run the stages before.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="With --preset: path of the data's files.")] = None,
    nodes: NodesOption = 1,
    gpus: GpusOption = 8,
    gpu_memory: Annotated[float, typer.Option(min=1, help="Gigabytes (10^9) of each GPU.")] = 80.0,
    submit: Annotated[
        str | None,
        typer.Option(metavar="[ADDRESS]", help="Have a Ray cluster run it; none: the head on this machine."),
    ] = None,
    overrides: SetOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Write prompts, agent and command of a stage for OpenRLHF 0.11.2, with the run's settings, and print the command.

    What comes of it is taken in with `deeprec policy adopt`.

    Example: deeprec launch openrlhf --preset qwen2.5-7b --run runs/qwen2.5-7b --stage cold_start --nodes 2 --gpus 8
    """
    from deeprec.launch.machines import Machines
    from deeprec.launch.submit import submit_job

    chosen = stages.rl_stage(stage)
    machines = Machines(nodes, gpus, gpu_memory)
    launch = (
        _of_run(run, chosen, machines, overrides)
        if preset is None
        else _of_preset(run, chosen, machines, preset, source, overrides)
    )
    typer.echo(shlex.join(launch.command))
    typer.echo(f"\nPrompts: {launch.prompts}\nScript: {launch.script}")
    if submit is not None:
        job = submit_job(launch.script, submit)
        typer.echo(f"Job: {job}; what it says: ray job logs --address {submit} --follow {job}")
    typer.echo(f"Then: deeprec policy adopt {launch.policy} --stage {chosen} --run {run}")


def _of_run(run: Path, stage: RLStage, machines: Machines, overrides: list[str] | None) -> Launch:
    from deeprec.launch.openrlhf import write_launch
    from deeprec.pipeline import load_stages

    with open_run(run, overrides) as opened:
        return write_launch(opened, *load_stages(opened), stage, machines)


def _of_preset(
    run: Path,
    stage: RLStage,
    machines: Machines,
    preset: str,
    source: str | None,
    overrides: list[str] | None,
) -> Launch:
    from deeprec.launch.openrlhf import check_launch, write_launch
    from deeprec.locks import writing
    from deeprec.pipeline import prepare_policy
    from deeprec.progress import show_progress
    from deeprec.run import Run

    settings = beginning_settings(None, source, preset, None, overrides)
    check_launch(settings, machines)  # now, not after the minutes of the stages before
    with writing(run):
        opened = Run.create(run, settings)
        with show_progress() as console:
            dataset, trm = prepare_policy(opened, lambda name: console.rule(name.replace("_", " ")))
        return write_launch(opened, dataset, trm, stage, machines)


@app.command("check")
def check(nodes: NodesOption = 1, gpus: GpusOption = 8) -> None:
    """Whether OpenRLHF is installed here and the Ray cluster is large enough; the script of a launch asks this first.

    Example: deeprec launch check --nodes 2 --gpus 8
    """
    from deeprec.launch.check import check_cluster, check_engine

    check_engine()
    check_cluster(nodes, gpus)
    typer.echo(f"OpenRLHF and {nodes * gpus} GPUs are here.")
