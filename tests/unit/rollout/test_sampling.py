"""Inverse-CDF sampling against the distribution it should have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from deeprec.rollout.engines.sampling import WIDTH, draw, uniforms_for

LOGITS = torch.tensor([2.0, -1.0, 0.5, 0.0, 1.0, -3.0])


def uniforms(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(uniforms_for(seed, 0, 0, 0, rows * WIDTH)).reshape(rows, WIDTH)


def many(logits: torch.Tensor, temperature: float, top_p: float, count: int = 40_000) -> torch.Tensor:
    return draw(logits.expand(count, -1), uniforms(count), temperature, top_p)[0]


@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.5])
def test_frequencies_follow_the_softmax(temperature: float) -> None:
    counts = torch.bincount(many(LOGITS, temperature, 1.0), minlength=6).numpy()
    expected = (LOGITS / temperature).softmax(dim=0).double().numpy()
    assert chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 0.01


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p() -> None:
    # Softmax, likeliest first: 0.561 (0), 0.206 (4), 0.125 (2), 0.076 (3): 0.767 < 0.88 <= 0.892.
    tokens = many(LOGITS, 1.0, 0.88)
    assert sorted(set(tokens.tolist())) == [0, 2, 4]
    counts = torch.bincount(tokens, minlength=6).numpy()[[0, 2, 4]]
    kept = LOGITS.softmax(dim=0).double().numpy()[[0, 2, 4]]
    assert chisquare(counts, kept / kept.sum() * counts.sum()).pvalue > 0.01
    assert set(many(LOGITS, 1.0, 0.1).tolist()) == {0}


def test_rows_that_fall_outside_the_nucleus_every_time_are_sorted() -> None:
    # The likeliest holds 0.561: with top_p 0.1 it is the nucleus, and four draws of 0.99 miss it.
    shares = torch.full((3, WIDTH), 0.99)
    shares[1, 2] = 0.0
    assert draw(LOGITS.expand(3, -1), shares, 1.0, 0.1)[0].tolist() == [0, 0, 0]
    # Sorted: 0 and 4 are kept at 0.7; the last number, 0.99, takes the second.
    shares[:, :4] = 1 - 2**-24
    assert draw(LOGITS.expand(3, -1), shares, 1.0, 0.7)[0].tolist() == [4, 4, 4]


def test_the_nucleus_of_a_flat_distribution_is_cut_among_equals() -> None:
    logits = torch.zeros(1000)
    logits[:10] = 1.0
    tokens = many(logits, 1.0, 0.5, count=4000)
    # 10 tokens hold 2.7 percent; some 480 of the others are needed to reach half.
    assert 400 < len(set(tokens.tolist())) <= 500
    assert max(tokens.tolist()) < 500


def test_top_p_holds_for_each_row_of_a_mixed_batch() -> None:
    peaked = torch.full((500,), -20.0)
    peaked[7] = 5.0
    tokens, _ = draw(torch.stack([peaked, torch.zeros(500)] * 100), uniforms(200, seed=1), 1.0, 0.95)
    assert set(tokens[::2].tolist()) == {7}
    assert len(set(tokens[1::2].tolist())) > 50


def test_greedy_takes_the_lowest_id_among_equals() -> None:
    tokens, logprobs = draw(torch.tensor([[0.0, 1.0, 1.0], [2.0, 2.0, 2.0]]), None, 0.0, 1.0)
    assert tokens.tolist() == [1, 0]
    assert logprobs.tolist() == pytest.approx([1 - math.log(1 + 2 * math.e), -math.log(3)])


@pytest.mark.parametrize("top_p", [0.5, 1.0])
@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24])
def test_a_token_without_probability_is_never_drawn(uniform: float, top_p: float) -> None:
    logits = torch.full((1, 50), -torch.inf)
    logits[0, 20:23] = 1.0
    token, logprob = draw(logits, torch.full((1, WIDTH), uniform), 1.0, top_p)
    assert 20 <= int(token) <= 22
    assert float(logprob) == pytest.approx(-math.log(3))


def test_logprobs_ignore_temperature_and_nucleus() -> None:
    tokens, logprobs = draw(LOGITS.expand(50, -1), uniforms(50), 0.3, 0.8)
    torch.testing.assert_close(logprobs, LOGITS.log_softmax(dim=0)[tokens])


def test_uniforms_depend_on_every_argument_and_on_nothing_else() -> None:
    base = uniforms_for(1, 2, 3, 4, 8)
    assert base.dtype == np.float32
    assert ((base >= 0) & (base < 1)).all()
    assert np.array_equal(base, uniforms_for(1, 2, 3, 4, 20)[:8])
    for other in [(2, 2, 3, 4), (1, 3, 3, 4), (1, 2, 4, 4), (1, 2, 3, 5)]:
        assert not np.isin(base, uniforms_for(*other, 8)).any()


@pytest.mark.parametrize("size", [5, 64, 130, 6000])
def test_greedy_takes_the_first_of_the_likeliest(size: int) -> None:
    draws = torch.Generator().manual_seed(size)
    logits = torch.randint(0, 40, (200, size), generator=draws).float()  # many equals
    tokens, logprobs = draw(logits, None, 0.0, 1.0)
    first = [row.index(max(row)) for row in logits.tolist()]
    assert tokens.tolist() == first
    expected = logits.double().log_softmax(dim=-1)[range(200), first].float()
    torch.testing.assert_close(logprobs, expected, atol=1e-6, rtol=1e-6)
