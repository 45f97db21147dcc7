"""`deeprec bench`: speed beside peers, measured in the same run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.cli import bench_service
from deeprec.cli.bench_rows import print_rows
from deeprec.cli.options import JsonOption, SetOption
from deeprec.cli.soak import soak_command
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
    print_rows(rows, as_json)


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
    printed = print_rows(found, as_json)
    missed = [] if at_least is None else below(printed, at_least)
    for row in missed:
        typer.echo(f"{row.name}: {row.ratio} is too low", err=True)
    if missed:
        raise typer.Exit(1)


app.command("serve")(bench_service.serve_command)
app.command("attack")(bench_service.attack_command)
app.command("soak")(soak_command)


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
