"""Rows of a benchmark on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from deeprec.bench.rows import Row


def print_lines(rows: Iterable[Row]) -> list[Row]:
    """Print rows as they are measured; returns them."""
    import json
    from dataclasses import asdict

    printed = []
    for row in rows:
        typer.echo(json.dumps(asdict(row)))
        printed.append(row)
    return printed


def print_table(rows: Iterable[Row]) -> None:
    """Print rows as one table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", "unit", "peer", "peer's", "ratio")
    for row in rows:
        peer_value = "-" if row.peer_value is None else f"{row.peer_value:,.4g}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
        table.add_row(row.name, f"{row.value:,.4g}", row.unit, row.peer, peer_value, ratio)
    Console().print(table)
