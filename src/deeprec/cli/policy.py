"""`deeprec policy`: make the policy and look at what it writes."""

from __future__ import annotations

import typer

from deeprec.cli.options import (
    DEFAULT_RUN,
    JsonOption,
    RunOption,
    SetOption,
    ThreadsOption,
    open_run,
    print_json,
)

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
