"""One suite that every reward part passes, one of your own included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_world import TITLES, build_codec, build_dataset, explore, final_list, settings

from deeprec.config import override_config
from deeprec.disk import read_jsonl
from deeprec.errors import ConfigError, RewardError
from deeprec.rewards.mixture import (
    OUTCOME_PARTS,
    PARTS,
    PROCESS_PARTS,
    RewardSpace,
    check_weights,
    mix,
    reward_parts,
)
from deeprec.rewards.own import load_parts
from deeprec.rewards.steps import step_rewards
from deeprec.rl import recipe
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.environment import Environment
from deeprec.rollout.runner import run_episodes
from deeprec.run import Run
from deeprec.settings import RunConfig
from deeprec.trm.baselines import ItemKNN
from deeprec.types import Example, Trajectory

OWN = "reward_of_mine:short"
MODULE = """
def short(trajectory, example, space):
    "Few words of thought: 1 for none, less for each."
    words = sum(len(turn.thought.split()) for turn in trajectory.turns)
    return 1.0 / (1 + words) if space.recommended else 0.0

def undefined(trajectory, example, space): return float("nan")
def wordy(trajectory, example, space): return "good"
def nothing(trajectory, example, space): return None
def targetless(trajectory, space): return 1.0
NUMBER = 3
"""
DATASET, CODEC = build_dataset(), build_codec()
USERS = [Example(f"u{place}", (1, 4), target=target) for place, target in enumerate((10, 10, 3, 10, 2, 10))]
TEXTS = (
    (explore("Action"), explore("Comedy"), final_list(("Dune", "Heat", "Up"))),
    (explore("Action"), final_list(("Dune", "Emma", "Up"))),
    (explore("Action"), explore("Crime"), explore("Drama"), final_list(("Heat", "Emma", "Up"))),
    (explore("Action"), final_list(("Dune", "Heat", "Up"), thought="")),
    (explore("Action"), "and so on"),
    (explore(""),),
)  # two good ones, one long one, three that break the form


class Letters:
    """Counts of letters as vectors: real enough for cosines."""

    dim, fingerprint = 26, "letters"

    def encode(self, texts):
        rows = np.array([[t.lower().count(chr(97 + i)) for i in range(26)] for t in texts], dtype=np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


@pytest.fixture(scope="module")
def trajectories() -> list[Trajectory]:
    engine = ScriptedEngine(CODEC, dict(enumerate(TEXTS)))
    environment = Environment(DATASET, ItemKNN.fit(DATASET), engine, CODEC, settings())
    return run_episodes(USERS, environment, greedy=True)


@pytest.fixture(autouse=True)
def _mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "reward_of_mine.py").write_text(MODULE)


@pytest.fixture
def space() -> RewardSpace:
    vectors = np.concatenate([np.zeros((1, 26), np.float32), Letters().encode(TITLES)])
    return RewardSpace(DATASET.catalog, Letters(), vectors, None, 3, load_parts({OWN: 1.0}))


@pytest.fixture(params=[*PARTS, OWN])
def part(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_one_finite_number_for_each_trajectory(part, trajectories, space) -> None:
    values = reward_parts(trajectories, USERS, space)[part]
    assert values.dtype == np.float64
    assert values.shape == (len(USERS),)
    assert np.isfinite(values).all()
    assert len(set(values.tolist())) > 1  # it tells trajectories apart


def test_a_value_does_not_depend_on_the_company(part, trajectories, space) -> None:
    together = reward_parts(trajectories, USERS, space)[part]
    turned = reward_parts(trajectories[::-1], USERS[::-1], space)[part]
    alone = [reward_parts([t], [e], space)[part][0] for t, e in zip(trajectories, USERS, strict=True)]
    assert together.tolist() == turned[::-1].tolist() == alone


def test_it_weighs_what_its_stage_says_and_credit_by_step_adds_up(part, trajectories, space) -> None:
    parts = reward_parts(trajectories, USERS, space)
    other = "format" if part == "hit" else "hit"
    weights: Mapping[str, float] = {part: 2.0, other: 0.5}
    mixed = mix(parts, weights)
    assert mixed.tolist() == pytest.approx((2.0 * parts[part] + 0.5 * parts[other]).tolist())
    for place, (trajectory, example) in enumerate(zip(trajectories, USERS, strict=True)):
        own = {name: float(values[place]) for name, values in parts.items()}
        shares = step_rewards(trajectory, example, own, weights, space)
        assert sum(shares.values()) == pytest.approx(float(mixed[place]))


@pytest.mark.parametrize("part", PROCESS_PARTS)
def test_process_parts_do_not_know_the_target(part, trajectories, space) -> None:
    others = [replace(example, target=1 + example.target % 12) for example in USERS]
    found = reward_parts(trajectories, others, space)[part]
    assert found.tolist() == reward_parts(trajectories, USERS, space)[part].tolist()


@pytest.mark.parametrize("part", OUTCOME_PARTS)
def test_outcome_parts_give_nothing_for_a_broken_form(part, trajectories, space) -> None:
    values = reward_parts(trajectories, USERS, space)[part]
    assert (values[3:] <= 0.0).all()


# Of your own


def test_one_of_your_own_is_computed_where_a_stage_names_it(tmp_path: Path) -> None:
    from deeprec.rl.stage import reward_space

    class TRM:
        encoder = Letters()

        def text_vectors(self): ...
        def item_vectors(self): ...

    config = override_config(
        RunConfig(), [f'rl.recommendation.weights={{hit = 1.0, "{OWN}" = 0.0, "reward_of_mine:wordy" = 1}}']
    )
    found = reward_space(Run.create(tmp_path / "run", config), DATASET, TRM())  # type: ignore[arg-type]
    assert list(found.own) == [OWN, "reward_of_mine:wordy"]
    again = Run.open(tmp_path / "run").config.rl.recommendation.weights
    assert again == {"hit": 1.0, OWN: 0.0, "reward_of_mine:wordy": 1.0}


def test_it_counts_in_the_stages_fingerprint_by_name() -> None:
    weights = [{"hit": 1.0}, {"hit": 1.0, OWN: 1.0}, {"hit": 1.0, "reward_of_mine:other": 1.0}]
    configs = [
        RunConfig.model_validate({"rl": {"recommendation": {"weights": table}}}).identity("recommendation")
        for table in weights
    ]
    assert len({json.dumps(found, sort_keys=True, default=str) for found in configs}) == 3
    assert recipe.rewards(weights[0]) == recipe.rewards(weights[1])  # what is not ours is not worked out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("undefined", "'reward_of_mine:undefined' gave nan for user 'u0', rollout 0; saved to failed.jsonl"),
        ("wordy", "'reward_of_mine:wordy' gave 'good' for user 'u0', which is a str; give a number"),
        ("nothing", "gave None for user 'u0', which is a NoneType; give a number, and nan where"),
    ],
)
def test_what_is_no_finite_number_stops_the_run(name, message, trajectories, space, tmp_path) -> None:
    broken = replace(space, own=load_parts({f"reward_of_mine:{name}": 1.0}))
    with pytest.raises(RewardError, match=message):
        reward_parts(trajectories, USERS, broken, rollouts_per_user=2, failed=tmp_path / "failed.jsonl")
    if name == "undefined":
        assert read_jsonl(tmp_path / "failed.jsonl")[0]["part"] == "reward_of_mine:undefined"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reward_of_mine:absent", "module 'reward_of_mine' has no attribute 'absent'"),
        ("reward_of_mine:NUMBER", "is a int, not callable"),
        ("reward_of_mine:targetless", "can't be called with .trajectory, example, space.: too many"),
        ("reward_that_is_not:here", "can't import 'reward_that_is_not'"),
    ],
)
def test_what_can_not_be_used_is_refused_before_training(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"reward part = '{name}': {message}"):
        check_weights({"hit": 1.0, name: 1.0}, "rl.recommendation.weights")


def test_a_name_that_is_neither_tells_of_ones_own() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown reward part 'qwxz'; known: .*or a function of yours as package\."
    ):
        check_weights({"qwxz": 1.0}, "rl.recommendation.weights")
