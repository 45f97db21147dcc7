"""`deeprec bench soak`: a service for a long time, and whether anything grows, is lost, or answers wrongly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.cli.options import DEFAULT_RUN, JsonOption, SetOption

if TYPE_CHECKING:
    from deeprec.bench.soak.figures import Minute
    from deeprec.bench.soak.run import Report


class DatabaseKind(StrEnum):
    """What keeps histories and feedback."""

    AUTO = "auto"
    SQLITE = "sqlite"
    POSTGRES = "postgres"


def soak_command(
    run: Annotated[Path, typer.Option("--run", help="Run with a trained policy.")] = DEFAULT_RUN,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 10.0,
    clients: Annotated[int, typer.Option(min=1, help="Clients, each with a key and a connection.")] = 16,
    pause: Annotated[
        float, typer.Option(min=0, help="Seconds, about, from an answer to the client's next request.")
    ] = 0.5,
    trouble_every: Annotated[
        float, typer.Option(min=0.1, help="Minutes from one trouble of the database to the next.")
    ] = 2.0,
    trouble_seconds: Annotated[float, typer.Option(min=0.1, help="Seconds that each lasts.")] = 5.0,
    database: Annotated[
        DatabaseKind,
        typer.Option(help="auto: PostgreSQL where it is installed (it is killed), else SQLite (locked)."),
    ] = DatabaseKind.AUTO,
    disk_mib: Annotated[
        int,
        typer.Option(
            min=0, help="Size of the database's disk, which is filled now and then (takes root); 0: none."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of what is asked.")] = 0,
    times_count: Annotated[
        bool,
        typer.Option("--times/--no-times", help="Whether slow answers fail it; a busy machine gives them."),
    ] = True,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """A real `deeprec serve` under a mix of requests, with a database that goes away now and then.

    Goals: no answer but the expected ones, acknowledged feedback is kept, memory and descriptors
    grow by 2 % at most from the second quarter of the time to the last, p99 of the policy's
    answers below 1 s and of the TRM's below 50 ms. Ends with 1 where one is missed. --json
    prints one object a line.

    Example: deeprec bench soak --run runs/quickstart --minutes 60
    """
    from deeprec.bench.soak.figures import is_passed
    from deeprec.bench.soak.kinds import World
    from deeprec.bench.soak.run import Plan, soak
    from deeprec.data.format import read_dataset
    from deeprec.provenance import machine
    from deeprec.run import Run

    opened = Run.open(run)
    opened.require("data")
    data = read_dataset(opened.data)
    items = [item.item_id for item in data.catalog.items]
    plan = Plan(
        minutes,
        clients,
        pause,
        trouble_every,
        trouble_seconds,
        database.value,
        disk_mib,
        seed,
        overrides or (),
    )
    tell = _print_json if as_json else _MinutePrinter()
    report = soak(opened.folder, World(data.user_ids, items), plan, tell)
    if as_json:
        for kind in report.kinds:
            typer.echo(json.dumps(asdict(kind)))
        for check in report.checks:
            typer.echo(json.dumps(asdict(check)))
    else:
        _print_report(report)
        typer.echo(f"on {machine()}, which clients, database and service share")
    if not is_passed(report.checks, times_count=times_count):
        raise typer.Exit(1)


def _print_json(minute: Minute) -> None:
    typer.echo(json.dumps(asdict(minute)))


class _MinutePrinter:
    """A line for each minute as it ends."""

    _HEAD = (
        "minute",
        "requests",
        "MiB",
        "files",
        "deeprec p50",
        "p99",
        "trm p50",
        "p99 ms",
        "wrong",
        "troubles",
    )
    _WIDTHS = (6, 8, 7, 5, 11, 8, 8, 8, 5, 0)

    def __init__(self) -> None:
        self._line(self._HEAD)

    def __call__(self, minute: Minute) -> None:
        """Print it."""
        values = [*asdict(minute).values()]
        self._line(
            [*("-" if value is None else str(value) for value in values[:-1]), ", ".join(minute.troubles)]
        )

    def _line(self, words: Sequence[str]) -> None:
        typer.echo("  ".join(word.rjust(width) for word, width in zip(words, self._WIDTHS, strict=True)))


def _print_report(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    kinds = Table("request", "number", "p50, ms", "p99, ms", "answers", "wrong", title=report.database)
    for row in report.kinds:
        kinds.add_row(*("-" if value is None else str(value) for value in asdict(row).values()))
    verdict = Table("goal", "found", "wanted", "")
    for check in report.checks:
        verdict.add_row(check.name, check.found, check.goal, "met" if check.is_met else "MISSED")
    console = Console()
    console.print(kinds)
    console.print(verdict)
