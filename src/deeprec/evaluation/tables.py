"""Tables of figures that are no ranking of methods: written by a command, shown on the results page."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deeprec.disk import write_atomically
from deeprec.errors import EvaluationError

Cell = str | int | float | None


class FigureTable(BaseModel):
    """One table: what it shows, of what, and the command that prints it again.

    `targets` is the hash of the (user, target) pairs that were ranked; rows are as wide as `columns`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    title: str = Field(min_length=1)
    note: str = ""
    part: str
    targets: str = Field(min_length=8)
    users: int = Field(gt=0)
    seed: int
    columns: tuple[str, ...] = Field(min_length=2)
    rows: tuple[tuple[Cell, ...], ...] = Field(min_length=1)
    command: str = Field(min_length=1)
    machine: str
    commit: str | None = None
    versions: dict[str, str] = {}

    @model_validator(mode="after")
    def _check(self) -> FigureTable:
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} cells for {len(self.columns)} columns")
        return self


def write_table(file: Path, table: FigureTable) -> None:
    """Write the table, as a whole or not at all."""
    if file.suffix != ".json":
        raise EvaluationError(f"{file}: a table's file is called *.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(table.model_dump(mode="json"), indent=1, sort_keys=True) + "\n")


def load_tables(folder: Path) -> list[FigureTable]:
    """The tables of a folder, in the order of file names; raises EvaluationError naming the file."""
    tables = []
    for file in sorted(folder.glob("*.json")):
        try:
            tables.append(FigureTable.model_validate_json(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            raise EvaluationError(f"{file}: can't be read ({error}); write it again") from None
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"]) or "table"
            raise EvaluationError(f"{file}: '{place}': {problem['msg']}") from None
    return tables


def render_table(table: FigureTable) -> str:
    """The table as Markdown."""
    lines = [
        f"### {table.title}\n",
        f"{table.part}, {table.users} users, targets `{table.targets}`, seed {table.seed}. Made by\n",
        f"```\n{table.command}\n```\n",
        f"| {' | '.join(table.columns)} |",
        f"|{'---|' * len(table.columns)}",
        *(f"| {' | '.join(_cell(value) for value in row)} |" for row in table.rows),
        "",
    ]
    if table.note:
        lines.append(f"{table.note}\n")
    versions = ", ".join(f"{name} {version}" for name, version in sorted(table.versions.items()))
    commit = f"commit `{table.commit}`" if table.commit else "commit unknown"
    lines.append(f"{table.machine}; {commit}; {versions or 'versions unknown'}.\n")
    return "\n".join(lines)


def _cell(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value).replace("|", "/")
