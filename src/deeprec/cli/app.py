"""The `deeprec` command: groups its subcommands and turns our errors into one line."""

from __future__ import annotations

import sys

import typer

from deeprec.cli import data, doctor, evaluate, policy, quickstart, recommend, report, results, train, trm
from deeprec.errors import DeepRecError

app = typer.Typer(
    name="deeprec",
    help="Recommendations by a language model that explores the catalogue.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("quickstart")(quickstart.quickstart)
app.add_typer(data.app, name="data")
app.add_typer(trm.app, name="trm")
app.add_typer(policy.app, name="policy")
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.command("recommend")(recommend.recommend)
app.add_typer(results.app, name="results")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line; exit 2 with one line for our errors, 130 when interrupted."""
    try:
        app()
    except DeepRecError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Finished stages are kept; the same command goes on from there.\n")
        raise SystemExit(130) from None
