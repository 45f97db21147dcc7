"""The rows of `deeprec bench rollout`: how fast trajectories are written, and what the time goes to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from transformers import PreTrainedModel, Qwen2ForCausalLM

from deeprec.bench.rollout_made_up import made_up_contexts, random_policy, write_turns
from deeprec.bench.rollout_ways import FLOOR, NAIVE, FloorEngine, NaiveEngine
from deeprec.bench.rows import Row, make_row
from deeprec.config import PolicyConfig
from deeprec.errors import ConfigError
from deeprec.progress import progress_bar
from deeprec.rollout.engines.base import Engine, Sampling
from deeprec.rollout.engines.local import LocalEngine
from deeprec.rollout.environment import Clock, Environment
from deeprec.rollout.runner import run_episodes
from deeprec.trm.base import Retriever
from deeprec.trm.mentions import MentioningTRM
from deeprec.trm.retriever import TRM
from deeprec.types import Example

OURS = "local"
_TEMPERATURE, _TOP_P = 1.0, 0.95  # as published

Written = list[tuple[int, ...]]  # ids that the policy sampled, a segment or a trajectory each


class Write(Protocol):
    """Has an engine write all trajectories of a benchmark."""

    def __call__(self, engine: Engine, greedy: bool) -> Written:
        """What it wrote, in an order that is the same for every engine."""
        ...


@dataclass(frozen=True)
class Sizes:
    """How much is measured. All but `rounds` and `group` describe made-up trajectories."""

    rows: int = 64
    group: int = 1  # rows that share a prompt when tokens are sampled, as rollouts of one user do
    new_tokens: int = 60
    vocabulary: int = 6000
    stop_every: int = 33
    rounds: int = 3


def made_up_rows(
    config: PolicyConfig, sizes: Sizes, *, device: str = "cpu", cpu_time: bool = False
) -> Iterator[Row]:
    """Speed of a random policy on made-up trajectories of three turns, greedy and sampled.

    `cpu_time` counts the process's seconds on all processors instead of the clock's: for a
    machine that others use. Raises ConfigError for rows that don't make whole groups.
    """
    if sizes.rows % sizes.group:
        raise ConfigError(f"--rows {sizes.rows} is no multiple of --group {sizes.group}; choose one that is")
    model = random_policy(config, sizes.vocabulary).to(device)

    def write(engine: Engine, greedy: bool) -> Written:
        group = 1 if greedy else sizes.group  # greedy rows of one prompt would all be alike
        made_up = made_up_contexts(sizes.rows, group, sizes.vocabulary, sizes.stop_every)
        temperature, top_p = (0.0, 1.0) if greedy else (_TEMPERATURE, _TOP_P)
        sampling = Sampling(temperature, top_p, sizes.new_tokens, made_up.stop_ids)
        return [segment.token_ids for segment in write_turns(engine, made_up, sampling)]

    yield from _speed_rows(model, write, sizes.rounds, cpu_time)


def run_rows(
    model: PreTrainedModel,
    environment: Environment,
    examples: Sequence[Example],
    sizes: Sizes,
    *,
    cpu_time: bool = False,
) -> Iterator[Row]:
    """Speed of a run's own policy on its users, and the parts of a sampled rollout.

    Greedy trajectories are one an example; for sampled ones the first examples are repeated
    `sizes.group` times, as in training.
    """

    def chosen(greedy: bool) -> list[Example]:
        if greedy:
            return list(examples)
        return [example for example in examples[: len(examples) // sizes.group] for _ in range(sizes.group)]

    def write(engine: Engine, greedy: bool) -> Written:
        _as_new(environment.retriever)
        found = run_episodes(chosen(greedy), replace(environment, engine=engine), greedy=greedy)
        return [
            tuple(token for token, mask in zip(one.response_ids, one.loss_mask, strict=True) if mask)
            for one in found
        ]

    if not chosen(greedy=False):
        raise ConfigError(f"--group {sizes.group}: only {len(examples)} examples; lower it")
    yield from _speed_rows(model, write, sizes.rounds, cpu_time)
    yield from _share_rows(model, environment, chosen(greedy=False), sizes.rounds)


def _as_new(retriever: Retriever) -> None:
    """Each round meets users whom the TRM has not met: it keeps what it computed of them."""
    fitted = retriever.retriever if isinstance(retriever, MentioningTRM) else retriever
    if isinstance(fitted, TRM):
        fitted.forget_histories()


def below(rows: Sequence[Row], ratio: float) -> list[Row]:
    """Rows that fall short: of `ratio` to the naive way, or of greedy trajectories that are all alike."""
    needed = {"tokens/s": ratio, "share": 1.0}
    held = [(row, row.ratio) for row in rows if row.peer == NAIVE]
    return [row for row, found in held if found is None or found < needed[row.unit]]


def _speed_rows(model: PreTrainedModel, write: Write, rounds: int, cpu_time: bool) -> Iterator[Row]:
    context = LocalEngine(model, seed=0).context_length
    engines: dict[str, Callable[[], Engine]] = {
        OURS: partial(LocalEngine, model, seed=0),
        NAIVE: partial(NaiveEngine, model, context),
    }
    if isinstance(model, Qwen2ForCausalLM):
        engines[FLOOR] = partial(FloorEngine, model, seed=0)
    for name, greedy in (("greedy", True), ("sampled", False)):
        rates, written = _alternate(name, engines, partial(write, greedy=greedy), rounds, cpu_time)
        yield make_row(f"{name} trajectories", rates[OURS], "tokens/s", NAIVE, rates[NAIVE])
        floor, why = (
            rates.get(FLOOR),
            "" if FLOOR in rates else f", only for Qwen2, not {type(model).__name__}",
        )
        yield make_row(f"{name} trajectories", rates[OURS], "tokens/s", FLOOR + why, floor)
        if greedy:
            pairs = list(zip(written[OURS], written[NAIVE], strict=True))
            equal = sum(ours == theirs for ours, theirs in pairs) / len(pairs)
            yield make_row("greedy trajectories alike", equal, "share", NAIVE, 1.0)


def _alternate(
    name: str,
    engines: Mapping[str, Callable[[], Engine]],
    write: Callable[[Engine], Written],
    rounds: int,
    cpu_time: bool,
) -> tuple[dict[str, float], dict[str, Written]]:
    """Tokens per second of each engine's best round, and what it wrote last.

    Every round has a new engine: one that wrote the same texts before would guess them all.
    """
    clock = time.process_time if cpu_time else time.perf_counter
    rates = dict.fromkeys(engines, 0.0)
    written: dict[str, Written] = {}
    with progress_bar(name, rounds * len(engines)) as bar:
        for _ in range(rounds):
            for key, make in engines.items():
                engine = make()
                started = clock()
                written[key] = write(engine)
                seconds = clock() - started
                rates[key] = max(rates[key], sum(map(len, written[key])) / seconds)
                bar.advance()
    return rates, written


def _share_rows(
    model: PreTrainedModel, environment: Environment, examples: Sequence[Example], rounds: int
) -> Iterator[Row]:
    """Seconds of a sampled rollout by part, in the quickest round; the ratio is the share of the whole."""
    best: dict[str, float] = {}
    for number in range(rounds):
        engine = LocalEngine(model, seed=number)
        clock = Clock()
        _as_new(environment.retriever)
        run_episodes(examples, replace(environment, engine=engine, clock=clock), greedy=False)
        parts = {
            "prefill": engine.clock.prefill,
            "decode": engine.clock.decode,
            "retrieval": clock.retrieval,
        }
        parts["Python and the rest"] = clock.total - sum(parts.values())
        if not best or clock.total < sum(best.values()):
            best = parts
    whole = sum(best.values())
    for name, seconds in best.items():
        yield make_row(f"{name} in sampled rollouts", seconds, "s", f"{len(examples)} whole rollouts", whole)
