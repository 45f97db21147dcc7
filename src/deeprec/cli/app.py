"""The `deeprec` command: groups its subcommands and turns our errors into one line."""

from __future__ import annotations

import sys

import typer

from deeprec.cli import (
    ablate,
    bench,
    compare,
    data,
    doctor,
    evaluate,
    hub,
    keys,
    launch,
    policy,
    quickstart,
    recommend,
    report,
    results,
    rival,
    serve,
    store,
    train,
    trm,
)
from deeprec.cli.options import WithRay
from deeprec.distribution import installed_version
from deeprec.errors import DeepRecError
from deeprec.space import refuses, remedy_of
from deeprec.threads import wait_passively

_INTERRUPTED = 130

app = typer.Typer(
    name="deeprec",
    help="Recommendations by a language model that explores the catalogue.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"deeprec {installed_version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass


app.command("quickstart")(quickstart.quickstart)
app.add_typer(data.app, name="data")
app.add_typer(trm.app, name="trm")
app.add_typer(policy.app, name="policy")
app.command("train")(train.train)
app.add_typer(launch.app, name="launch")
app.add_typer(rival.app, name="rival")
app.command("evaluate", cls=WithRay)(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("ablate")(ablate.ablate)
app.command("report")(report.report)
app.command("recommend", cls=WithRay)(recommend.recommend)
app.command("serve")(serve.serve)
app.command("push")(hub.push)
app.command("pull")(hub.pull)
app.add_typer(results.app, name="results")
app.add_typer(store.app, name="store")
app.add_typer(keys.app, name="keys")
app.add_typer(bench.app, name="bench")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line; exit 2 with one line for our errors, 130 when interrupted."""
    wait_passively()
    try:
        app()
    except DeepRecError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        raise SystemExit(2) from None
    except OSError as error:
        if not refuses(error):  # what the machine refuses is no fault of the program: no traceback
            raise
        place = f"{error.filename}: " if error.filename else ""
        remedy = f"{remedy_of(error)}, then run the same command again"
        sys.stderr.write(f"OSError: {place}{error.strerror}; {remedy}\n")
        raise SystemExit(2) from None
    except (KeyboardInterrupt, SystemExit) as ending:
        # Typer turns an interruption within a command into this exit, and says nothing.
        if isinstance(ending, SystemExit) and ending.code != _INTERRUPTED:
            raise
        sys.stderr.write("Interrupted. Finished stages are kept; the same command goes on from there.\n")
        raise SystemExit(_INTERRUPTED) from None
