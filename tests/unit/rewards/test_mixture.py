from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from deeprec.disk import read_jsonl
from deeprec.errors import ConfigError, RewardError
from deeprec.rewards.mixture import PARTS, check_weights, mix, reward_parts
from deeprec.types import Example, StopReason


def example(target: int) -> Example:
    return Example(user_id="7", history=(6,), target=target)


def test_every_part_of_a_good_trajectory(make, space):
    parts = reward_parts([make(preferences=("space", "crime; love"))], [example(2)], space)
    assert tuple(parts) == PARTS
    found = {name: float(values[0]) for name, values in parts.items()}
    assert found["format"] == found["list_format"] == 0.0
    assert found["invocation"] == 0.5
    assert found["diversity"] == pytest.approx(0.2)
    assert found["hit"] == 1.0
    assert found["rank"] == pytest.approx(0.2 * 2)  # K = 3, target on line 1
    assert found["pool"] == 1.0
    s = (1 + 3**0.5 / 2) / 2  # items 1 and 3 stand 30 degrees from item 2
    assert found["similarity"] == pytest.approx(10 * (s + 4 / 9 + s / 9) / (14 / 9))


@pytest.mark.parametrize(
    "broken",
    [
        {"lines": ("Alien", "Brazil")},
        {"lines": ("Brazil", "Alien <think>", "Casino")},
        {"errors": ("no retrieval",)},
        {"stop": StopReason.TOKEN_LIMIT},
    ],
)
def test_a_broken_form_earns_no_outcome(make, space, broken):
    parts = reward_parts([make(**broken)], [example(2)], space)
    assert [parts[name][0] for name in ("hit", "rank", "similarity")] == [0.0, 0.0, 0.0]
    assert parts["pool"][0] == 1.0  # what exploring found stays on record


def test_order_is_kept(make, space):
    trajectories = [make(("Alien", "Brazil", "Casino")), make(("Dune", "Emma", "Fargo"))]
    targets = [example(target) for target in (1, 1, 4, 4)]
    parts = reward_parts([*trajectories, *trajectories], targets, space)
    assert parts["hit"].tolist() == [1.0, 0.0, 0.0, 1.0]


def test_mixture_by_weights(make, space):
    parts = reward_parts([make(), make(("Dune", "Emma", "Fargo"))], [example(1)] * 2, space)
    mixed = mix(parts, {"hit": 2.0, "rank": 0.5})
    assert mixed.tolist() == pytest.approx([2.0 + 0.5 * 0.6, 0.0])


def test_unknown_weight_names_the_nearest():
    with pytest.raises(ConfigError, match=r"^here: unknown .* 'similarty'; did you mean 'similarity'\?"):
        check_weights({"hit": 1.0, "similarty": 1.0}, "here")
    with pytest.raises(ConfigError, match="no reward part weighs anything"):
        check_weights({"hit": 0.0}, "here")


def test_nan_is_named_and_saved_never_zero(make, space, tmp_path):
    vectors = space.item_vectors.copy()
    vectors[2] = np.nan
    broken = dataclasses.replace(space, item_vectors=vectors)
    failed = tmp_path / "failed.jsonl"
    trajectories = [make(("Dune", "Emma", "Fargo")), make()]
    message = r"'similarity' gave nan for user '7', rollout 1; saved to failed\.jsonl"
    with pytest.raises(RewardError, match=message):
        reward_parts(trajectories, [example(4)] * 2, broken, rollouts_per_user=2, failed=failed)
    (saved,) = read_jsonl(failed)
    assert saved["part"] == "similarity"
    assert saved["lines"] == ["Alien", "Brazil", "Casino"]
