"""Credit of drawn lists, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from deeprec.rewards.mixture import RewardSpace
from deeprec.rl.list_credit import list_advantages, scale
from deeprec.types import Draw


class _NoEncoder:
    dim, fingerprint = 2, "none"

    def encode(self, texts: object) -> np.ndarray:
        raise AssertionError("no preference is encoded here")


def space(recommended: int = 3) -> RewardSpace:
    vectors = np.array([[0, 0], [1, 0], [0, 1], [1, 0], [0, 1]], dtype=np.float64)
    return RewardSpace(None, _NoEncoder(), vectors, None, recommended)  # type: ignore[arg-type]


def draw(*lists: tuple[int, ...]) -> Draw:
    return Draw((0,), (1, 2, 3, 4), (0.0,) * 4, 1.0, lists, tuple((0.0,) * len(row) for row in lists))


def test_a_hit_is_held_against_the_lists_that_could_still_hit() -> None:
    # Target 2: on line 1, on line 3, nowhere. Hit 1 and rank 0.2 x (3 - place).
    found = list_advantages(draw((2, 1, 3), (1, 3, 2), (1, 3, 4)), 2, {"hit": 1.0, "rank": 1.0}, space())
    first, third = 1.6, 1.2
    all_lists, two_lists = (first + third) / 3, third / 2
    assert found[0] == pytest.approx([first - all_lists, 0, 0])
    assert found[1] == pytest.approx([third - all_lists, third - two_lists, third - two_lists])
    assert found[2] == pytest.approx([-all_lists, -two_lists, -two_lists])


def test_a_pool_without_the_target_teaches_nothing_about_hits() -> None:
    assert not list_advantages(draw((1, 3, 4), (4, 3, 1)), 2, {"hit": 1.0, "rank": 1.0}, space()).any()


def test_similarity_is_earned_line_by_line() -> None:
    found = list_advantages(draw((1, 2), (2, 1)), 3, {"similarity": 1.0}, space(2))
    # Item 1 is like the target, item 2 is not; weights of the lines 1 and 1/4, over their sum.
    assert found == pytest.approx(np.array([[3.0, -1.0], [-3.0, 1.0]]))


def test_advantages_add_up_to_nothing_on_each_line() -> None:
    lists = tuple(
        tuple(row) for row in np.random.default_rng(0).permuted(np.tile([1, 2, 3, 4], (6, 1)), axis=1)
    )
    found = list_advantages(draw(*lists), 2, {"hit": 1.0, "rank": 0.5, "similarity": 0.3}, space(4))
    assert found.sum(axis=0) == pytest.approx(np.zeros(4), abs=1e-12)


def test_scaling_keeps_signs_and_a_batch_without_difference() -> None:
    scaled = scale([np.array([[1.0, -1.0]]), np.array([[3.0, -3.0]])])
    assert np.concatenate(scaled).std() == pytest.approx(1.0)
    assert scale([np.zeros((2, 2))])[0].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert scale([]) == []
