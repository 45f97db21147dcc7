"""Lists as draws without replacement: probabilities by hand, by counting, and by autograd."""

from __future__ import annotations

from itertools import permutations
from math import log

import pytest
import torch

from deeprec.rollout.plackett_luce import NEVER, draw_lists, greedy_lists, line_entropies, line_log_probs

LOGITS = torch.tensor([[1.0, 0.0, 2.0, NEVER], [0.5, 0.5, NEVER, NEVER]])


def test_the_likeliest_list_has_equals_in_order_and_ends_with_the_pool() -> None:
    assert greedy_lists(LOGITS, 3).tolist() == [[[2, 0, 1]], [[0, 1, -1]]]


def test_lines_are_drawn_from_what_is_left() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0])
    found = line_log_probs(weights.log()[None], torch.tensor([[[2, 0, 1], [1, 2, 0]]]))
    assert found[0, 0].tolist() == pytest.approx([log(5 / 8), log(1 / 3), 0.0], abs=1e-6)
    assert found[0, 1].tolist() == pytest.approx([log(2 / 8), log(5 / 6), 0.0], abs=1e-6)


def test_a_line_without_a_place_costs_nothing_and_is_certain() -> None:
    lists = greedy_lists(LOGITS, 4)
    assert line_log_probs(LOGITS, lists)[:, 0, 3].tolist() == [0.0, 0.0]
    assert line_entropies(LOGITS, lists)[1, 0].tolist() == pytest.approx([log(2), 0.0, 0.0, 0.0], abs=1e-6)


def test_all_lists_together_have_probability_one() -> None:
    every = torch.tensor([list(permutations(range(3)))])
    assert float(line_log_probs(LOGITS[:1], every).sum(-1).exp().sum()) == pytest.approx(1.0, abs=1e-6)


def test_draws_come_as_often_as_their_probability_says() -> None:
    uniforms = torch.rand(1, 40_000, 4, generator=torch.Generator().manual_seed(0))
    drawn = draw_lists(LOGITS[:1], uniforms, 2)
    for first, second in permutations(range(3), 2):
        chance = line_log_probs(LOGITS[:1], torch.tensor([[[first, second]]])).sum().exp()
        share = ((drawn[0, :, 0] == first) & (drawn[0, :, 1] == second)).float().mean()
        assert float(share) == pytest.approx(float(chance), abs=0.01)


def test_extreme_uniforms_still_draw_distinct_places() -> None:
    uniforms = torch.tensor([[[0.0, 0.0, 1.0, 0.5]]])
    assert sorted(draw_lists(LOGITS[:1], uniforms, 3)[0, 0].tolist()) == [0, 1, 2]


def test_the_gradient_is_chosen_minus_expected_on_each_line() -> None:
    logits = torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64, requires_grad=True)
    line_log_probs(logits, torch.tensor([[[2, 0]]])).sum().backward()
    first = torch.softmax(logits.detach()[0], 0)
    second = torch.softmax(torch.tensor([0.3, -0.2], dtype=torch.float64), 0)
    expected = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64) - first
    expected[:2] -= second
    assert torch.allclose(logits.grad[0], expected, atol=1e-12)


def test_places_that_may_not_be_listed_get_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    line_log_probs(logits, greedy_lists(LOGITS, 4)).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 3] == 0
