"""`deeprec compare`: finished evaluations beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deeprec.cli.evaluate import FormatOption, check_format, print_summary
from deeprec.cli.options import JsonOption


def compare(
    places: Annotated[
        list[Path], typer.Argument(help="Runs that were evaluated, or folders made by `evaluate --to`.")
    ],
    against: Annotated[
        str | None,
        typer.Option(help="Hold everything against this method [default: the same method of the first]"),
    ] = None,
    shape: FormatOption = "table",
    to: Annotated[
        Path | None, typer.Option("--to", help="Also write the tables and comparison.json to this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put finished evaluations into one table, with paired tests on the users they share.

    They must be of the same targets, data set, protocol, part and length of lists. Users whom
    one of them lacks are listed.

    Example: deeprec compare runs/seed0 runs/seed1 --against trm
    """
    from deeprec.evaluation.compare import compare_evaluations, load_evaluated, write_comparison

    shape = check_format("json" if as_json else shape)
    summary = compare_evaluations(load_evaluated(places), against)
    if to is not None:
        write_comparison(to, summary)
    print_summary(summary, shape)
