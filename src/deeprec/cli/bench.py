"""`deeprec bench`: speed beside peers, measured in the same run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.cli.options import JsonOption, SetOption

if TYPE_CHECKING:
    from deeprec.bench.rows import Row
    from deeprec.config import RunConfig
    from deeprec.data.dataset import Dataset

app = typer.Typer(help="Measure speed beside other libraries, on this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure speed beside other libraries, on this machine."""


@app.command("trm")
def trm_command(
    run: Annotated[Path | None, typer.Option("--run", help="Run with prepared data; none: made-up.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="`training`, `exact` or `approximate`; repeatable.")
    ] = None,
    peer_python: Annotated[Path, typer.Option(help="Interpreter that has the peers.")] = Path(
        ".venv-peers/bin/python"
    ),
    peers: Annotated[Path, typer.Option(help="Folder with the peers' scripts.")] = Path("benchmarks/peers"),
    users: Annotated[int, typer.Option(min=2, help="Users of made-up data.")] = 1500,
    items: Annotated[int, typer.Option(min=2, help="Items of made-up data.")] = 3416,
    exact_items: Annotated[int, typer.Option(min=100, help="Items of the exact search.")] = 25_000,
    approximate_items: Annotated[
        int, typer.Option(min=100, help="Items of the approximate search.")
    ] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Alternating rounds; the best one counts.")] = 3,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of all; none: torch's own.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Training and retrieval of the TRM beside RecTools, torch and faiss: one row a figure.

    `ratio` is ours / peer: above 1 is better for tokens/s, below 1 for ms. Peers are
    installed by `make peers`; where they are not, the row says so. --json prints one object
    a line, as they are measured.

    Example: deeprec bench trm --threads 1 --json
    """
    from deeprec.bench.peers import Peers
    from deeprec.bench.trm import PARTS, Sizes, trm_rows
    from deeprec.progress import show_progress

    config, dataset = _subject(run, overrides)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    sizes = Sizes(users, items, exact_items, approximate_items, rounds)
    rows = trm_rows(
        config.trm,
        Peers(peer_python, peers),
        dataset=dataset,
        sizes=sizes,
        parts=tuple(only or PARTS),
        seed=seed,
    )
    if as_json:
        _print_lines(rows)
        return
    with show_progress():
        found = list(rows)
    _print_table(found)


def _subject(run: Path | None, overrides: list[str] | None) -> tuple[RunConfig, Dataset | None]:
    """Settings and data to measure with."""
    from deeprec.config import RunConfig, override_config
    from deeprec.data.stage import load_data
    from deeprec.run import Run

    opened = None if run is None else Run.open(run)
    config = override_config(opened.config if opened else RunConfig(), overrides or [])
    return config, load_data(opened) if opened else None


def _print_lines(rows: Iterable[Row]) -> None:
    import json
    from dataclasses import asdict

    for row in rows:
        typer.echo(json.dumps(asdict(row)))


def _print_table(rows: Iterable[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", "unit", "peer", "peer's", "ratio")
    for row in rows:
        peer_value = "-" if row.peer_value is None else f"{row.peer_value:,.4g}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
        table.add_row(row.name, f"{row.value:,.4g}", row.unit, row.peer, peer_value, ratio)
    Console().print(table)
