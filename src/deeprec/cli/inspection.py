"""What `deeprec data inspect` prints and writes."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from deeprec.data.inspection import Inspection, TableView
from deeprec.disk import write_atomically
from deeprec.errors import ConfigError


def print_inspection(found: Inspection, written: Path | None) -> None:
    """Tables of columns, what would be read, the settings, and the command to go on with."""
    console = Console()
    for view in found.tables:
        console.print(_table(view))
    place = written or Path("mine.toml")
    heading = f"Written to {written}:" if written else f"Settings (--write {place} keeps them):"
    lines = [
        *found.outcome,
        *([f"Not yet: {found.problem}"] if found.problem else []),
        "",
        heading,
        "",
        found.toml,
    ]
    lines.append(f"Next: deeprec quickstart --config {place} --run runs/{place.stem}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def write_settings(found: Inspection, file: Path) -> None:
    """Write the settings; raises ConfigError rather than write over a file."""
    if file.exists():
        raise ConfigError(f"{file}: is there already; name another file with --write, or delete it")
    try:
        write_atomically(file, found.toml)
    except OSError as error:
        raise ConfigError(f"{file}: can't be written ({error.strerror}); name another place") from None


def _table(view: TableView) -> Table:
    table = Table(title=f"{view.role}: {view.place}\n{view.kind}", title_justify="left")
    for title in ("column", "taken for", "holds", "for example"):
        table.add_column(title, overflow="fold")
    for column in view.columns:
        table.add_row(column.name, column.ours or "-", column.holds, " · ".join(column.examples))
    return table
