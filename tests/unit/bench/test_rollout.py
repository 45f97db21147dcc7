"""`deeprec bench rollout`: every way writes the same, and the rows say so."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from deeprec.bench.rollout import Sizes, below, made_up_rows
from deeprec.bench.rollout_made_up import made_up_contexts, random_policy, write_turns
from deeprec.bench.rollout_ways import FLOOR, NAIVE, FloorEngine, NaiveEngine
from deeprec.bench.rows import make_row
from deeprec.cli.app import app
from deeprec.config import PolicyConfig
from deeprec.errors import ConfigError
from deeprec.rollout.engines.base import Sampling
from deeprec.rollout.engines.local import LocalEngine

TINY = PolicyConfig(width=32, heads=4, key_value_heads=2, inner=48, context=512)
SIZES = Sizes(rows=4, group=2, new_tokens=8, vocabulary=100, stop_every=9, rounds=1)


def written(engine, group: int = 1) -> list[tuple[int, ...]]:
    made_up = made_up_contexts(4, group, 100, 9)
    return [
        segment.token_ids for segment in write_turns(engine, made_up, Sampling(0.0, 1.0, 8, made_up.stop_ids))
    ]


def test_all_three_ways_write_the_same_greedy_segments() -> None:
    model = random_policy(TINY, 100)
    ours = written(LocalEngine(model, seed=0))
    assert len(ours) == 3 * 4
    assert written(NaiveEngine(model, 512)) == ours
    assert written(FloorEngine(model, seed=0)) == ours


def test_the_floor_gives_the_models_own_logprobs() -> None:
    model = random_policy(TINY, 100)
    made_up = made_up_contexts(2, 1, 100, 9)
    first = write_turns(FloorEngine(model, seed=0), made_up, Sampling(0.0, 1.0, 8, frozenset()))[0]
    with torch.no_grad():
        logits = model(torch.tensor([[*made_up.prompts[0], *first.token_ids]])).logits[0]
    table = logits.log_softmax(dim=-1)[len(made_up.prompts[0]) - 1 : -1]
    expected = table.gather(1, torch.tensor(first.token_ids)[:, None])[:, 0].tolist()
    assert first.logprobs == pytest.approx(expected, abs=1e-5)


def test_rows_of_a_group_share_a_prompt_and_the_naive_way_samples_up_to_its_caps() -> None:
    made_up = made_up_contexts(4, 2, 100, 9)
    assert made_up.prompts[0] == made_up.prompts[1] != made_up.prompts[2]
    engine = NaiveEngine(random_policy(TINY, 100), 512)
    for segment in write_turns(engine, made_up, Sampling(1.0, 0.95, 5, made_up.stop_ids)):
        stops = [token in made_up.stop_ids for token in segment.token_ids]
        assert segment.stopped == stops[-1]
        assert not any(stops[:-1])
        assert len(stops) == 5 or segment.stopped


def test_rows_hold_the_ratios_to_the_naive_way_and_to_the_floor() -> None:
    rows = list(made_up_rows(TINY, SIZES))
    assert [(row.name, row.unit, row.peer) for row in rows] == [
        ("greedy trajectories", "tokens/s", NAIVE),
        ("greedy trajectories", "tokens/s", FLOOR),
        ("greedy trajectories alike", "share", NAIVE),
        ("sampled trajectories", "tokens/s", NAIVE),
        ("sampled trajectories", "tokens/s", FLOOR),
    ]
    assert rows[2].value == 1.0
    assert all(row.ratio is not None and row.ratio > 0 for row in rows)
    with pytest.raises(ConfigError, match="--rows 5 is no multiple of --group 2"):
        list(made_up_rows(TINY, Sizes(rows=5, group=2)))


def test_what_falls_short_is_named() -> None:
    fast = make_row("greedy trajectories", 300.0, "tokens/s", NAIVE, 100.0)
    unlike = make_row("greedy trajectories alike", 0.99, "share", NAIVE, 1.0)
    floor = make_row("greedy trajectories", 300.0, "tokens/s", FLOOR, 400.0)
    assert below([fast, floor], 2.0) == []
    assert below([fast, unlike, floor], 3.5) == [fast, unlike]


def test_the_command_fails_below_the_ratio_that_it_is_given() -> None:
    sizes = ["--rows", "4", "--vocabulary", "100", "--new-tokens", "8", "--rounds", "1", "--json"]
    narrow = ["--set", "policy.width=32", "--set", "policy.inner=48"]
    done = CliRunner().invoke(app, ["bench", "rollout", *sizes, *narrow, "--at-least", "1000"])
    assert done.exit_code == 1
    assert json.loads(done.stdout.splitlines()[0])["peer"] == NAIVE
    assert "greedy trajectories: " in done.stderr
