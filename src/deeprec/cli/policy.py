"""`deeprec policy`: make the policy and look at what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deeprec.cli.launch import Stage
from deeprec.cli.options import (
    DEFAULT_RUN,
    JsonOption,
    RunOption,
    SetOption,
    ThreadsOption,
    open_run,
    print_json,
)
from deeprec.stages import rl_stage

app = typer.Typer(help="The language model: make it, warm-start it, look at it.", no_args_is_help=True)


@app.command("init")
def init(
    run: RunOption = DEFAULT_RUN,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Build or load the policy and warm-start it on the fit part.

    Example: deeprec policy init --run runs/ml-100k --set policy.width=192
    """
    from deeprec.pipeline import load_stages
    from deeprec.progress import show_progress
    from deeprec.rl.warm_start import STAGE, run_warm_start

    with open_run(run, overrides) as folder:
        dataset, trm = load_stages(folder)
        with show_progress():
            run_warm_start(folder, dataset, trm)
        record = folder.finished()[STAGE]
        if as_json:
            print_json(record)
            return
        typer.echo(
            f"Policy: {folder.policy(STAGE)} ({record['parameters']:,} parameters, {record['minutes']} minutes)"
        )


@app.command("adopt")
def adopt(
    folder: Annotated[Path, typer.Argument(help="Folder of a model that was trained elsewhere.")],
    stage: Annotated[Stage, typer.Option(help="The stage of RL that it is.")],
    run: RunOption = DEFAULT_RUN,
) -> None:
    """Make a model that OpenRLHF trained from this run's policy a stage of the run.

    Example: deeprec policy adopt runs/qwen2.5-7b/openrlhf/cold_start/policy --stage cold_start --run runs/qwen2.5-7b
    """
    from deeprec.launch.adopt import adopt_policy
    from deeprec.pipeline import load_stages

    chosen = rl_stage(stage)
    with open_run(run, None) as opened:
        adopt_policy(opened, *load_stages(opened), folder, chosen)
        typer.echo(f"Policy: {opened.policy(chosen)}")


@app.command("show")
def show(run: RunOption = DEFAULT_RUN, as_json: JsonOption = False) -> None:
    """Which policies a run holds, and what made them.

    Example: deeprec policy show --run runs/ml-100k
    """
    from deeprec.run import Run
    from deeprec.stages import POLICY_STAGES

    folder = Run.open(run)
    records = {stage: record for stage, record in folder.finished().items() if stage in POLICY_STAGES}
    if as_json:
        print_json(records)
        return
    for stage, record in records.items():
        typer.echo(f"{stage}: {folder.policy(stage)} ({record['minutes']} minutes, {record['time']})")
    if not records:
        typer.echo(f"No policy yet; run `deeprec policy init --run {run}`.")
