"""`deeprec trm`: fit the retriever, look at what a preference does, measure it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.cli.options import (
    DEFAULT_RUN,
    JsonOption,
    RunOption,
    SetOption,
    ThreadsOption,
    open_run,
    print_json,
)

if TYPE_CHECKING:
    from deeprec.data.catalog import Catalog
    from deeprec.data.dataset import TargetPart
    from deeprec.trm.base import Retrieval
    from deeprec.trm.quality import Pool, Quality, Steering

app = typer.Typer(help="Fit, inspect and evaluate the TRM.", no_args_is_help=True)


@app.command("fit")
def fit_command(
    run: RunOption = DEFAULT_RUN,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Fit the TRM on the fit part of the run's data; does nothing if it is fitted already.

    Example: deeprec trm fit --run runs/ml-100k --set trm.epochs=20
    """
    from deeprec.data.stage import load_data
    from deeprec.progress import show_progress
    from deeprec.trm.stage import run_trm

    with open_run(run, overrides) as opened:
        dataset = load_data(opened)
        with show_progress():
            run_trm(opened, dataset)
        record = opened.finished()["trm"]
        if as_json:
            print_json({"folder": str(opened.trm), "minutes": record["minutes"], **record["validation"]})
            return
        facts = ", ".join(f"{name} {value}" for name, value in record["validation"].items())
        typer.echo(f"{opened.trm}: fitted in {record['minutes']:.1f} min; validation: {facts or 'none'}")


@app.command("refit")
def refit_command(
    run: RunOption = DEFAULT_RUN, overrides: SetOption = None, as_json: JsonOption = False
) -> None:
    """Fit the TRM once more, on everything before validation: the stronger baseline `trm-refit`.

    Example: deeprec trm refit --run runs/ml-100k
    """
    from deeprec.data.stage import load_data
    from deeprec.progress import show_progress
    from deeprec.trm.refit import STAGE, run_trm_refit

    with open_run(run, overrides) as opened:
        opened.require("trm")
        dataset = load_data(opened)
        with show_progress():
            run_trm_refit(opened, dataset)
        minutes = opened.finished()[STAGE]["minutes"]
        if as_json:
            print_json({"folder": str(opened.trm_refit), "minutes": minutes})
            return
        typer.echo(f"{opened.trm_refit}: fitted in {minutes:.1f} min")


@app.command("show")
def show_command(
    preference: Annotated[str, typer.Option(help="What to ask for, e.g. 'Action; 1990s; not Drama'.")],
    user: Annotated[str | None, typer.Option(help="User id; none: a user without a history.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Items to show.")] = 10,
    run: RunOption = DEFAULT_RUN,
    as_json: JsonOption = False,
) -> None:
    """Print the plain top items beside those for a preference.

    Example: deeprec trm show --run runs/ml-100k --user 42 --preference "Action; 1990s" -k 10
    """
    from deeprec.data.stage import load_data
    from deeprec.errors import DataError
    from deeprec.run import Run
    from deeprec.trm.left import check_size, sizes_left
    from deeprec.trm.stage import load_trm
    from deeprec.types import Example

    opened = Run.open(run)
    dataset = load_data(opened)
    trm = load_trm(opened, dataset)
    example = dataset.known_history(user) if user is not None else Example("", ())
    if not example.history and not as_json:
        typer.echo("No history: what is popular answers, and the text of the preference.")
    exclude = [dataset.exclusions(example)]
    check_size(k, dataset.catalog.n_items)
    (size,) = sizes_left(k, dataset.catalog.n_items, exclude)
    if not size:
        raise DataError(f"user '{user}' knows every item of the catalogue; nothing is left to recommend")
    plain = trm.retrieve([example.history], None, size, exclude)
    steered = trm.retrieve([example.history], [preference], size, exclude)
    _show(dataset.catalog, plain, steered, preference, as_json)


@app.command("evaluate")
def evaluate_command(
    part: Annotated[str, typer.Option(help="`test`, `validation` or `rl`.")] = "test",
    run: RunOption = DEFAULT_RUN,
    as_json: JsonOption = False,
) -> None:
    """Measure the TRM: beside its baselines, with every kind of preference, and as a pool to explore.

    Rows with a true phrase, and the pools called oracle, are told something about the target:
    they show what a preference can do, not what the TRM can do alone.

    Example: deeprec trm evaluate --run runs/ml-100k --part validation
    """
    from deeprec.data.stage import load_data
    from deeprec.errors import ConfigError
    from deeprec.run import Run
    from deeprec.trm.quality import compare, examples_of, pool_table, steering
    from deeprec.trm.stage import load_trm

    parts: dict[str, TargetPart] = {"test": "test", "validation": "validation", "rl": "rl"}
    if part not in parts:
        raise ConfigError(f"--part '{part}': choose test, validation or rl")
    opened = Run.open(run)
    dataset = load_data(opened)
    trm = load_trm(opened, dataset)
    seed, k = opened.config.seed, min(20, dataset.catalog.n_items)
    rows = compare(trm, dataset, parts[part], seed)
    examples = [example for example in examples_of(dataset, parts[part]) if example.history]
    steered = steering(trm, dataset, examples, k, seed)
    pools = pool_table(trm, dataset, examples, k, seed)
    _print_quality(rows, steered, pools, dataset.targets_hash(parts[part]), as_json)


def _show(catalog: Catalog, plain: Retrieval, steered: Retrieval, preference: str, as_json: bool) -> None:
    lists = {
        name: [
            {"item_id": catalog[item].item_id, "label": catalog[item].label, "score": round(score, 4)}
            for item, score in zip(found.item_indices[0].tolist(), found.scores[0].tolist(), strict=True)
        ]
        for name, found in (("plain", plain), ("steered", steered))
    }
    if as_json:
        print_json({"preference": preference, **lists})
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "no preference", "", escape(preference), "")
    pairs = zip(lists["plain"], lists["steered"], strict=True)
    for place, (left, right) in enumerate(pairs, 1):
        cells = [
            escape(str(left["label"])),
            f"{left['score']:.3f}",
            escape(str(right["label"])),
            f"{right['score']:.3f}",
        ]
        table.add_row(str(place), *cells)
    Console().print(table)


def _print_quality(
    rows: list[Quality], steered: Steering, pools: list[Pool], targets: str, as_json: bool
) -> None:
    from dataclasses import asdict

    if as_json:
        found = {"methods": [asdict(row) for row in rows], "steering": asdict(steered)}
        print_json({"targets": targets, **found, "pools": [asdict(pool) for pool in pools]})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "NDCG@10", "Recall@10", "Recall@20", "median rank")
    for row in rows:
        values = [f"{row.ndcg_at_10:.4f}", f"{row.recall_at_10:.4f}", f"{row.recall_at_20:.4f}"]
        table.add_row(row.method, *values, f"{row.median_rank:.0f}")
    Console().print(table)
    names = ("plain", "oracle", "plain, then oracle", "from history", "random")
    table = Table("recall of the pool", *names)
    for pool in pools:
        recalls = (pool.plain, pool.oracle, pool.plain_then_oracle, pool.from_history, pool.random)
        table.add_row(f"{pool.turns} x {pool.k}", *(f"{value:.4f}" for value in recalls))
    Console().print(table)
    typer.echo(
        f"two different phrases share {steered.overlap:.3f} of their top lists; {steered.fit:.3f} of a list bears "
        f"its phrase (plain: {steered.fit_plain:.3f}); targets {targets}"
    )
