"""Rows of a benchmark on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from deeprec.bench.rows import Row


def print_rows(rows: Iterable[Row], as_json: bool, note: str | None = None) -> list[Row]:
    """Print rows as JSON lines while they are measured, or as one table with a `note` below; returns them."""
    if as_json:
        return _print_lines(rows)
    from deeprec.progress import show_progress

    with show_progress():
        found = list(rows)
    _print_table(found)
    if note is not None:
        typer.echo(note)
    return found


def _print_lines(rows: Iterable[Row]) -> list[Row]:
    import json
    from dataclasses import asdict

    printed = []
    for row in rows:
        typer.echo(json.dumps(asdict(row)))
        printed.append(row)
    return printed


def _print_table(rows: Iterable[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", "unit", "peer", "peer's", "ratio")
    for row in rows:
        peer_value = "-" if row.peer_value is None else f"{row.peer_value:,.4g}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
        table.add_row(row.name, f"{row.value:,.4g}", row.unit, row.peer, peer_value, ratio)
    Console().print(table)
