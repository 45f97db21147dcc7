"""`deeprec launch`: a stage of RL for software that trains on many GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.cli.options import DEFAULT_RUN, RunOption

if TYPE_CHECKING:
    from deeprec.stages import RLStage

app = typer.Typer(help="Hand a stage of RL to software for many GPUs.", no_args_is_help=True)
_HELP = "Stage of RL: cold_start or recommendation."


@app.callback()
def _group() -> None:
    """A group, though it has one command yet."""


@app.command("openrlhf")
def openrlhf(
    run: RunOption = DEFAULT_RUN,
    stage: Annotated[str, typer.Option(help=_HELP)] = "cold_start",
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of each machine.")] = 8,
    gpu_memory: Annotated[float, typer.Option(min=1, help="Gigabytes (10^9) of each GPU.")] = 80.0,
) -> None:
    """Write prompts and command of a stage for OpenRLHF 0.11.2, with this run's settings, and print the command.

    The stage before must have been run. What comes of it is taken in with `deeprec policy adopt`.

    Example: deeprec launch openrlhf --run runs/qwen2.5-7b --stage cold_start --nodes 2 --gpus 8
    """
    import shlex

    from deeprec.locks import writing
    from deeprec.pipeline import load_stages
    from deeprec.rl.launch import Machines, write_launch
    from deeprec.run import Run

    opened = Run.open(run)
    chosen = rl_stage(stage)
    with writing(run):
        launch = write_launch(opened, *load_stages(opened), chosen, Machines(nodes, gpus, gpu_memory))
    typer.echo(shlex.join(launch.command))
    typer.echo(f"\nPrompts: {launch.prompts}\nScript, with the environment of its actors: {launch.script}")
    typer.echo(f"Then: deeprec policy adopt {launch.script.parent / 'policy'} --run {run} --stage {chosen}")


def rl_stage(name: str) -> RLStage:
    """A stage of RL by its name; raises RunError for another."""
    from deeprec.errors import RunError
    from deeprec.stages import RL_STAGES

    for stage in RL_STAGES:
        if stage == name:
            return stage
    raise RunError(f"--stage '{name}': choose {' or '.join(RL_STAGES)}")
