"""`deeprec bench`: speed beside peers, measured in the same run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.cli.options import DEFAULT_RUN, JsonOption, SetOption
from deeprec.threads import MOST_THREADS

if TYPE_CHECKING:
    from deeprec.bench.rollout import Sizes
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
    users: Annotated[int, typer.Option(min=2, max=10**6, help="Users of made-up data.")] = 1500,
    items: Annotated[int, typer.Option(min=2, max=10**6, help="Items of made-up data.")] = 3416,
    exact_items: Annotated[int, typer.Option(min=100, max=10**7, help="Items of the exact search.")] = 25_000,
    approximate_items: Annotated[
        int, typer.Option(min=100, max=10**8, help="Items of the approximate search.")
    ] = 1_000_000,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Alternating rounds; the best one counts.")
    ] = 3,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MOST_THREADS, help="Threads of all; none: torch's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
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


@app.command("rollout")
def rollout_command(
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run with a trained policy; none: a random one, made-up text."),
    ] = None,
    rows: Annotated[
        int, typer.Option(min=1, max=10**5, help="Trajectories at once; with a run, its users.")
    ] = 64,
    group: Annotated[
        int, typer.Option(min=1, max=10**5, help="Sampled trajectories that share a prompt.")
    ] = 1,
    new_tokens: Annotated[
        int, typer.Option(min=2, max=10**4, help="Made-up: tokens of a segment at most.")
    ] = 60,
    vocabulary: Annotated[
        int, typer.Option(min=100, max=10**6, help="Made-up: tokens in the vocabulary.")
    ] = 6000,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Alternating rounds; the best one counts.")
    ] = 3,
    steps: Annotated[int, typer.Option(min=0, max=1000, help="With a run: RL steps to measure.")] = 2,
    device: Annotated[str, typer.Option(help="`cpu` or `cuda`.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, max=MOST_THREADS, help="Threads; none: torch's own.")
    ] = None,
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="Count CPU seconds: for a machine that others use.")
    ] = False,
    at_least: Annotated[
        float | None,
        typer.Option(
            min=0, max=1000, help="Fail below this ratio to the naive way, or if greedy tokens differ."
        ),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tokens per second of the local engine beside `generate()` on whole contexts: one row a figure.

    `ratio` is ours / peer. The second peer writes a token a pass, without Hugging Face code
    but with all of a pass's work. With --run also the parts of a rollout, and the seconds
    outside the model in an RL step, where the ratio is the share of the whole. --json prints
    one object a line.

    Example: deeprec bench rollout --threads 1 --json
    """
    from deeprec.bench.rollout import Sizes, below, made_up_rows
    from deeprec.device import check_device
    from deeprec.progress import show_progress

    check_device(device)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    sizes = Sizes(rows, group, new_tokens, vocabulary, rounds=rounds)
    if run is None:
        from deeprec.config import RunConfig, override_config

        policy = override_config(RunConfig(), overrides or []).policy
        found: Iterable[Row] = made_up_rows(policy, sizes, device=device, cpu_time=cpu_time)
    else:
        found = _rollouts_of(run, overrides, sizes, steps, device, cpu_time)
    if as_json:
        printed = _print_lines(found)
    else:
        with show_progress():
            printed = list(found)
        _print_table(printed)
    missed = [] if at_least is None else below(printed, at_least)
    for row in missed:
        typer.echo(f"{row.name}: {row.ratio} is too low", err=True)
    if missed:
        raise typer.Exit(1)


@app.command("serve")
def serve_command(
    run: Annotated[Path, typer.Option("--run", help="Run with a trained policy.")] = DEFAULT_RUN,
    requests: Annotated[
        int, typer.Option(min=4, max=10**6, help="Requests that each number of clients sends.")
    ] = 256,
    at_least: Annotated[
        float | None,
        typer.Option(
            min=0, max=1000, help="Fail below this ratio of requests/s at 32 clients to one at a time."
        ),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Latency and requests/s of `deeprec serve` over HTTP on loopback, at 1, 8 and 32 clients.

    Each client sends its next request as soon as the last one is answered. `ratio` is
    batching / one trajectory at a time. --json prints one object a line.

    Example: deeprec bench serve --run runs/quickstart
    """
    from deeprec.bench.serve import CLIENTS, serve_rows
    from deeprec.data.format import read_dataset
    from deeprec.progress import show_progress
    from deeprec.provenance import machine
    from deeprec.run import Run

    opened = Run.open(run)
    opened.require("data")
    users = read_dataset(opened.data).user_ids
    rows = serve_rows(opened.folder, users, requests, overrides or [])
    if as_json:
        printed = _print_lines(rows)
    else:
        with show_progress():
            printed = list(rows)
        _print_table(printed)
        typer.echo(f"on {machine()}, which clients and service share")
    found = next(row for row in printed if row.name == f"throughput, {CLIENTS[-1]} clients")
    if at_least is not None and (found.ratio or 0.0) < at_least:
        typer.echo(f"{found.name}: {found.ratio} is too low", err=True)
        raise typer.Exit(1)


@app.command("attack")
def attack_command(
    run: Annotated[Path, typer.Option("--run", help="Run with a trained policy.")] = DEFAULT_RUN,
    rate: Annotated[float, typer.Option(min=1, max=10**5, help="Hostile requests per second.")] = 50.0,
    seconds: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds of each attack.")] = 10.0,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Attacks whose name holds this; repeatable.")
    ] = None,
    stored_users: Annotated[
        int, typer.Option(min=0, max=10**6, help="Users with a history in the store.")
    ] = 20_000,
    check: Annotated[bool, typer.Option("--check", help="Fail where a goal is missed.")] = False,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """What honest clients of `deeprec serve` notice while others attack it, each in one way.

    Goals: `/healthz` at p99 within 250 ms, an honest answer's p99 within twice that without an
    attack. --json prints one object a line.

    Example: deeprec bench attack --run runs/quickstart --only chunks
    """
    from deeprec.bench.attack import attack_rows, missed
    from deeprec.data.format import read_dataset
    from deeprec.progress import show_progress
    from deeprec.provenance import machine
    from deeprec.run import Run

    opened = Run.open(run)
    opened.require("data")
    users = read_dataset(opened.data).user_ids
    rows = attack_rows(
        opened.folder,
        users,
        rate=rate,
        seconds=seconds,
        only=only or (),
        stored_users=stored_users,
        options=overrides or (),
    )
    if as_json:
        printed = _print_lines(rows)
    else:
        with show_progress():
            printed = list(rows)
        _print_table(printed)
        typer.echo(f"on {machine()}, which clients, attackers and service share")
    failed = missed(printed)
    for row in failed:
        typer.echo(f"{row.name}: {row.value:.0f} ms misses its goal", err=True)
    if failed and check:
        raise typer.Exit(1)


def _rollouts_of(
    run: Path, overrides: list[str] | None, sizes: Sizes, steps: int, device: str, cpu_time: bool
) -> Iterator[Row]:
    """Rows of a run's latest policy on its test users, and of RL steps on a copy of it."""
    from deeprec.bench.rollout import run_rows
    from deeprec.bench.rollout_step import step_rows
    from deeprec.config import override_config
    from deeprec.pipeline import load_stages
    from deeprec.policy.environment import build_environment
    from deeprec.policy.loading import load_policy
    from deeprec.run import Run

    opened = Run.open(run)
    folder = Run(opened.folder, override_config(opened.config, overrides or []))
    dataset, trm = load_stages(folder)
    policy = load_policy(str(folder.last_policy()), folder.config.policy)
    environment = build_environment(folder, dataset, trm, policy)
    policy.model.to(device)
    examples = dataset.examples("test")[: sizes.rows]
    yield from run_rows(policy.model, environment, examples, sizes, cpu_time=cpu_time)
    if steps:
        yield from step_rows(folder, dataset, trm, policy, steps=steps)


def _subject(run: Path | None, overrides: list[str] | None) -> tuple[RunConfig, Dataset | None]:
    """Settings and data to measure with."""
    from deeprec.config import RunConfig, override_config
    from deeprec.data.stage import load_data
    from deeprec.run import Run

    opened = None if run is None else Run.open(run)
    config = override_config(opened.config if opened else RunConfig(), overrides or [])
    return config, load_data(opened) if opened else None


def _print_lines(rows: Iterable[Row]) -> list[Row]:
    """Print rows as they are measured; returns them."""
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
