"""`deeprec results`: rows of figures, and the page made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deeprec.cli.options import JsonOption, print_json

app = typer.Typer(help="Results as data: rows in results/*.json, and docs/results.md made from them.")

FolderOption = Annotated[Path, typer.Option("--folder", help="Folder with the rows.")]
PageOption = Annotated[Path, typer.Option("--page", help="The page to write or check.")]


@app.command()
def render(
    folder: FolderOption = Path("results"),
    page: PageOption = Path("docs/results.md"),
    check: Annotated[bool, typer.Option("--check", help="Only check that the page is current.")] = False,
) -> None:
    """Write docs/results.md, and the page and picture of each data set behind it, from results/*.json.

    Example: deeprec results render --check
    """
    from deeprec.evaluation.results_page import check_results, write_results

    if check:
        check_results(folder, page)
        typer.echo(f"{page} is current")
    else:
        typer.echo(f"Wrote {write_results(folder, page)}")


@app.command()
def add(
    run: Annotated[Path, typer.Argument(help="Run folder that was evaluated.")],
    results: Annotated[
        Path, typer.Option("--results", help="Results file to add to, e.g. results/ml-100k.json.")
    ],
    command: Annotated[
        str | None, typer.Option("--command", help="The command that made the run [default: worked out]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add the rows of an evaluated run; a row added before is replaced.

    Example: deeprec results add runs/default --results results/ml-100k.json
    """
    from deeprec.evaluation.results import append_rows, rows_of_run
    from deeprec.evaluation.stage import load_evaluation
    from deeprec.run import Run

    opened = Run.open(run)
    rows = rows_of_run(opened, load_evaluation(opened), command)
    append_rows(results, rows)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    else:
        typer.echo(f"Added {len(rows)} rows to {results}: {', '.join(row.method for row in rows)}")
