"""`deeprec data`: prepare a data set, show what a run holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.cli.options import DEFAULT_RUN, JsonOption, RunOption, SetOption, beginning_settings, print_json

if TYPE_CHECKING:
    from deeprec.data.summary import Summary

app = typer.Typer(help="Prepare data sets and show what is in them.", no_args_is_help=True)


@app.command("inspect")
def inspect_command(
    source: Annotated[Path, typer.Argument(help="File, folder or archive with what people did.")],
    items: Annotated[Path | None, typer.Option(help="File of the items, if they are apart.")] = None,
    users: Annotated[Path | None, typer.Option(help="File of the users, if there is one.")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the settings into this TOML file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how files are read: delimiter, encoding, columns, times, ids; and the settings that read them.

    Example: deeprec data inspect orders.csv --items products.csv --write shop.toml
    """
    from dataclasses import asdict

    from deeprec.cli.inspection import print_inspection, write_settings
    from deeprec.data.inspection import inspect_source

    found = inspect_source(source, items, users)
    if write is not None:
        write_settings(found, write)
    if as_json:
        print_json(asdict(found))
    else:
        print_inspection(found, write)


@app.command("prepare")
def prepare_command(
    name: Annotated[
        str | None,
        typer.Argument(help="Known data set, or `table` for your own files; none: as the settings say."),
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="Archive, folder or file; none: download or simulate.")
    ] = None,
    run: RunOption = DEFAULT_RUN,
    preset: Annotated[
        str | None, typer.Option(help="Complete run shipped with deeprec, to begin with.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings, to begin with.")] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read, check and split a data set into the run folder.

    A new run begins with the same settings as with `quickstart`; one that is there keeps its own, unless
    --preset or --config are given.

    Example: deeprec data prepare ml-100k --source ml-100k.zip --run runs/movies
    """
    from deeprec.data.preconditions import missing_targets
    from deeprec.data.stage import run_data
    from deeprec.data.summary import summarize
    from deeprec.locks import writing
    from deeprec.progress import show_progress
    from deeprec.run import Run

    place = None if source is None else str(source.expanduser().absolute())
    settings = beginning_settings(name, place, preset, config, overrides, run / "run.toml")
    with writing(run), show_progress():
        dataset = run_data(Run.create(run, settings))
    _show(summarize(dataset), as_json)
    lacking = missing_targets(dataset, settings)
    if lacking:
        typer.echo(f"not enough for every stage: {lacking}", err=True)


@app.command("show")
def show_command(run: RunOption = DEFAULT_RUN, as_json: JsonOption = False) -> None:
    """Print the summary of the run's data set.

    Example: deeprec data show --run runs/movies --json
    """
    from deeprec.data.stage import load_data
    from deeprec.data.summary import summarize
    from deeprec.run import Run

    _show(summarize(load_data(Run.open(run))), as_json)


@app.command("names")
def names_command(as_json: JsonOption = False) -> None:
    """List the data sets that `prepare` knows.

    Example: deeprec data names
    """
    from deeprec.data.prepare import data_names

    if as_json:
        print_json(data_names())
    else:
        typer.echo("\n".join(data_names()))


def _show(summary: Summary, as_json: bool) -> None:
    if as_json:
        print_json(summary.to_dict())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"data set {summary.name}", show_header=False)
    for label, value in _rows(summary):
        table.add_row(label, value)
    targets = Table(title="targets")
    for column in ("part", "targets", "item unseen in fit", "hash"):
        targets.add_column(column)
    for part, entry in summary.targets.items():
        targets.add_row(part, f"{entry.count:,}", f"{entry.cold:,}", entry.hash)
    console = Console()
    console.print(table)
    console.print(targets)
    for note in summary.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def _rows(summary: Summary) -> list[tuple[str, str]]:
    from deeprec.data.times import day_of

    def day(seconds: float | None) -> str:
        return "no times" if seconds is None else day_of(seconds)

    return [
        ("users", f"{summary.users:,}"),
        ("items", f"{summary.items:,}"),
        ("rows read", "not counted" if summary.rows_read is None else f"{summary.rows_read:,}"),
        ("interactions", f"{summary.interactions:,}"),
        ("  of them in fit", f"{summary.fit_interactions:,}"),
        ("density", f"{summary.density:.4%}"),
        ("time", f"{day(summary.first_timestamp)} to {day(summary.last_timestamp)}"),
        ("tied neighbours", f"{summary.tied_pairs:,}"),
        ("users whose last two tie", f"{summary.users_tied_last:,}"),
        ("users wholly in fit", f"{summary.users_short:,}"),
        ("titles of several items", f"{summary.titles_repeated:,}"),
        ("items without title", f"{summary.titles_empty:,}"),
        ("titles with hidden characters", f"{summary.titles_hidden:,}"),
        ("titles cut", f"{summary.titles_cut:,}"),
        ("items without category", f"{summary.items_without_category:,}"),
        ("items without year", f"{summary.items_without_year:,}"),
        ("left out: users", f"{summary.users_dropped:,}"),
        ("left out: items", f"{summary.items_dropped:,}"),
        *((f"rows left out: {reason}", f"{count:,}") for reason, count in summary.reader_dropped.items()),
        ("rows left out: unknown items", f"{summary.unknown_items_dropped:,}"),
        ("rows left out: duplicates", f"{summary.duplicates_dropped:,}"),
        ("rows left out: repeats", f"{summary.repeats_dropped:,}"),
        ("rows left out: too few", f"{summary.filtered_dropped:,}"),
        ("rows left out: after the test time", f"{summary.later_dropped:,}"),
        ("fingerprint", summary.fingerprint),
    ]
