"""Credit by step: shares add up to the mixed reward, and stand where they were earned."""

from __future__ import annotations

import numpy as np
import pytest
from small_world import TITLES, build_codec, build_dataset, explore, final_list, settings

from deeprec.rewards.mixture import PARTS, RewardSpace, mix, reward_parts
from deeprec.rewards.steps import LIST, step_rewards, steps_of_tokens
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.rollout.tags import TAGS
from deeprec.trm.baselines import ItemKNN
from deeprec.types import Example, Trajectory

DATASET = build_dataset()
CODEC = build_codec()


class Letters:
    """Counts of letters as vectors: real enough for cosines."""

    dim, fingerprint = 26, "letters"

    def encode(self, texts):
        rows = np.array([[t.lower().count(chr(97 + i)) for i in range(26)] for t in texts], dtype=np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


ENCODER = Letters()
VECTORS = np.concatenate([np.zeros((1, 26), np.float32), ENCODER.encode(TITLES)])
SPACE = RewardSpace(DATASET.catalog, ENCODER, VECTORS, None, 3)


def run(*texts: str) -> Trajectory:
    engine = ScriptedEngine(CODEC, {0: texts})
    environment = Environment(DATASET, ItemKNN.fit(DATASET), engine, CODEC, settings())
    return run_episodes([Example("u", (1, 4), target=10)], environment, greedy=True)[0]


CASES = {
    "two turns, hit on line 2": run(explore("Action"), explore("Comedy"), final_list(("Dune", "Heat", "Up"))),
    "one turn, miss": run(explore("Action"), final_list(("Dune", "Emma", "Up"))),
    "three turns": run(explore("Action"), explore("Crime"), explore("Drama"), final_list(("Heat", "Emma", "Up"))),
    "malformed": run(explore("Action"), final_list(("Dune", "Heat", "Up"), thought="")),
    "no list": run(explore("Action"), "and so on"),
    "empty preference": run(explore("")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_shares_add_up_to_the_reward_of_any_mixture(name: str) -> None:
    trajectory, example = CASES[name], Example("u", (1, 4), target=10)
    parts = reward_parts([trajectory], [example], SPACE)
    rng = np.random.default_rng(0)
    for _ in range(5):
        weights = dict(zip(PARTS, rng.normal(size=len(PARTS)).tolist(), strict=True))
        own = {part: float(values[0]) for part, values in parts.items()}
        shares = step_rewards(trajectory, example, own, weights, SPACE)
        assert sum(shares.values()) == pytest.approx(float(mix(parts, weights)[0]))


def test_each_is_earned_where_it_belongs() -> None:
    trajectory, example = CASES["two turns, hit on line 2"], Example("u", (1, 4), target=10)
    parts = {name: float(values[0]) for name, values in reward_parts([trajectory], [example], SPACE).items()}
    only = {name: step_rewards(trajectory, example, parts, {name: 1.0}, SPACE) for name in PARTS}
    none = {0.0}
    assert {step: value for step, value in only["hit"].items() if value not in none} == {LIST + 2: 1.0}
    assert only["rank"][LIST + 2] == pytest.approx(0.2 * (3 - 1))
    assert only["invocation"][2] == pytest.approx(0.5)
    assert only["diversity"][2] == pytest.approx(parts["diversity"])
    found = next(n for n, turn in enumerate(trajectory.turns, 1) if 10 in turn.retrieved)
    assert only["pool"][found] == 1.0
    assert sum(only["similarity"][LIST + line] for line in (1, 2, 3)) == pytest.approx(parts["similarity"])
    assert max(only["similarity"], key=only["similarity"].__getitem__) == LIST + 2  # the target itself


def test_tokens_know_their_step() -> None:
    trajectory = CASES["two turns, hit on line 2"]
    steps = steps_of_tokens(trajectory, CODEC)
    ids = np.array(trajectory.response_ids)
    assert ((steps > 0) == np.array(trajectory.loss_mask, dtype=bool)).all()
    assert CODEC.decode(ids[steps == 1].tolist()) == explore("Action")
    assert CODEC.decode(ids[steps == 2].tolist()) == explore("Comedy")
    assert CODEC.decode(ids[steps == 3].tolist()) == f"Now rank.{TAGS.end_think}\n{TAGS.begin_list}"
    assert CODEC.decode(ids[steps == LIST + 2].tolist()) == "\n2. Heat"
    assert CODEC.decode(ids[steps == LIST + 4].tolist()) == f"\n{TAGS.end_list}"
    assert set(steps_of_tokens(CASES["empty preference"], CODEC).tolist()) == {1}
    # Who closes after one turn is held against those who ask a second time.
    assert set(steps_of_tokens(CASES["one turn, miss"], CODEC).tolist()) == {
        0,
        1,
        2,
        *range(LIST + 1, LIST + 5),
    }
