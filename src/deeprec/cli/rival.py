"""`deeprec rival`: the other families of recommenders."""

from __future__ import annotations

from typing import Annotated

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

app = typer.Typer(help="Fit, list and read the other families of recommenders.", no_args_is_help=True)


@app.command("list")
def list_rivals(run: RunOption = DEFAULT_RUN, as_json: JsonOption = False) -> None:
    """Name every rival, what it is, and whether the run has it.

    Example: deeprec rival list --run runs/ml-100k
    """
    from deeprec.methods import RIVALS, own_rivals
    from deeprec.rivals.registry import find_rival
    from deeprec.run import Run
    from deeprec.stages import RIVAL

    finished = Run.open(run).finished() if (run / "run.toml").is_file() else {}
    rows = [
        {"name": name, "summary": find_rival(name).summary, "fitted": RIVAL + name in finished}
        for name in (*RIVALS, *own_rivals(finished))
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(f"{row['name']:<24} {'fitted' if row['fitted'] else '-':<8} {row['summary']}")


@app.command("fit")
def fit(
    names: Annotated[list[str], typer.Argument(help="Rivals to fit; `deeprec rival list` names them.")],
    run: RunOption = DEFAULT_RUN,
    overrides: SetOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Fit rivals on everything before validation; one that is up to date is left alone.

    Example: deeprec rival fit ease item-knn --run runs/ml-100k
    """
    from deeprec.pipeline import load_stages
    from deeprec.progress import show_progress
    from deeprec.rivals.registry import find_rival, run_rival
    from deeprec.stages import RIVAL

    for name in names:
        find_rival(name)  # an unknown one is refused before the first is fitted
    with open_run(run, overrides, beside=True) as opened:
        dataset, trm = load_stages(opened)
        for name in names:
            with show_progress():
                run_rival(opened, dataset, trm, name)
            typer.echo(
                f"{name}: {opened.rival(name)} ({opened.finished()[RIVAL + name]['minutes']:.1f} minutes)"
            )


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A fitted rival that reads text.")],
    user: Annotated[str, typer.Option(help="A user id of the data set.")],
    run: RunOption = DEFAULT_RUN,
) -> None:
    """Print what a rival's language model reads for a user, and what it writes.

    Example: deeprec rival show llm-semantic-ids --user u1 --run runs/quickstart
    """
    from deeprec.pipeline import load_stages
    from deeprec.rivals.registry import explain_rival, find_rival
    from deeprec.run import Run

    find_rival(name)  # refused before anything is loaded
    opened = Run.open(run)
    dataset, trm = load_stages(opened)
    typer.echo(explain_rival(opened, dataset, trm, name, dataset.known_history(user)))
