"""`deeprec bench serve` and `deeprec bench attack`: a real service under load, and under attack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deeprec.cli.bench_rows import print_rows
from deeprec.cli.options import DEFAULT_RUN, JsonOption, SetOption


def serve_command(
    run: Annotated[Path, typer.Option("--run", help="Run with a trained policy.")] = DEFAULT_RUN,
    requests: Annotated[
        int, typer.Option(min=4, max=10**6, help="Requests that each number of clients sends.")
    ] = 256,
    at_least: Annotated[
        float | None,
        typer.Option(
            min=0, max=1000, help="Fail below this ratio of requests/s at 32 clients to one at a time."
        ),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Latency and requests/s of `deeprec serve` over HTTP on loopback, at 1, 8 and 32 clients.

    Each client sends its next request as soon as the last one is answered. `ratio` is
    batching / one trajectory at a time. --json prints one object a line.

    Example: deeprec bench serve --run runs/quickstart
    """
    from deeprec.bench.serve import CLIENTS, serve_rows
    from deeprec.data.format import read_dataset
    from deeprec.provenance import machine
    from deeprec.run import Run

    opened = Run.open(run)
    opened.require("data")
    users = read_dataset(opened.data).user_ids
    rows = serve_rows(opened.folder, users, requests, overrides or [])
    printed = print_rows(rows, as_json, f"on {machine()}, which clients and service share")
    found = next(row for row in printed if row.name == f"throughput, {CLIENTS[-1]} clients")
    if at_least is not None and (found.ratio or 0.0) < at_least:
        typer.echo(f"{found.name}: {found.ratio} is too low", err=True)
        raise typer.Exit(1)


def attack_command(
    run: Annotated[Path, typer.Option("--run", help="Run with a trained policy.")] = DEFAULT_RUN,
    rate: Annotated[float, typer.Option(min=1, max=10**5, help="Hostile requests per second.")] = 50.0,
    seconds: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds of each attack.")] = 10.0,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Attacks whose name holds this; repeatable.")
    ] = None,
    stored_users: Annotated[
        int, typer.Option(min=0, max=10**6, help="Users with a history in the store.")
    ] = 20_000,
    check: Annotated[bool, typer.Option("--check", help="Fail where a goal is missed.")] = False,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """What honest clients of `deeprec serve` notice while others attack it, each in one way.

    Goals: `/healthz` at p99 within 250 ms, an honest answer's p99 within twice that without an
    attack. --json prints one object a line.

    Example: deeprec bench attack --run runs/quickstart --only chunks
    """
    from deeprec.bench.attack import attack_rows, missed
    from deeprec.data.format import read_dataset
    from deeprec.provenance import machine
    from deeprec.run import Run

    opened = Run.open(run)
    opened.require("data")
    users = read_dataset(opened.data).user_ids
    rows = attack_rows(
        opened.folder,
        users,
        rate=rate,
        seconds=seconds,
        only=only or (),
        stored_users=stored_users,
        options=overrides or (),
    )
    printed = print_rows(rows, as_json, f"on {machine()}, which clients, attackers and service share")
    failed = missed(printed)
    for row in failed:
        typer.echo(f"{row.name}: {row.value:.0f} ms misses its goal", err=True)
    if failed and check:
        raise typer.Exit(1)
