"""The loss of drawn lists: on-policy ratios, and gradients against autograd of the plain formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deeprec.rl.list_credit import ListPlan
from deeprec.rl.list_term import ListBatch, list_loss, pull
from deeprec.rollout.plackett_luce import draw_lists, line_log_probs
from deeprec.trm import softmax
from deeprec.types import Draw

CLIP = {"temperature": 1.0, "clip_low": 0.2, "clip_high": 0.28}
SHARPNESS = (1.0, 2.5)


def plans(
    likelihood: torch.Tensor, *, lists: int = 3, lines: int = 2, temperature: float = 1.0
) -> list[ListPlan]:
    """Two rows with pools of four and of three items, lists drawn from what `likelihood` (2, 4) says.

    Logits of the second are divided by 2.5: its policy trusts the TRM so much.
    """
    generator = torch.Generator().manual_seed(1)
    found = []
    for row, pool in enumerate([(5, 6, 7, 8), (9, 3, 4)]):
        prior = torch.linspace(-1, 0, len(pool))[None]
        logits = (likelihood[row : row + 1, : len(pool)].detach() + prior) / SHARPNESS[row] / temperature
        places = draw_lists(logits, torch.rand(1, lists, len(pool), generator=generator), lines)
        logs = line_log_probs(logits, places)[0]
        drawn = tuple(tuple(pool[place] for place in line) for line in places[0].tolist())
        draw = Draw(
            (1,), pool, tuple(prior[0].tolist()), SHARPNESS[row], drawn, tuple(map(tuple, logs.tolist()))
        )
        advantages = np.random.default_rng(row).normal(size=(lists, lines))
        found.append(ListPlan(draw, advantages))
    return found


def test_the_ratio_is_one_where_weights_have_not_changed() -> None:
    likelihood = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 0.7):
        batch = ListBatch.of(plans(likelihood, temperature=temperature), torch.device("cpu"))
        found = list_loss(likelihood, batch, **{**CLIP, "temperature": temperature})
        assert found.ratio == pytest.approx(1.0, abs=1e-5)
        assert found.clipped == 0.0


def test_on_policy_the_gradient_is_that_of_advantage_times_log_probability() -> None:
    likelihood = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    drawn = plans(likelihood)
    list_loss(likelihood, ListBatch.of(drawn, torch.device("cpu")), **CLIP).loss.backward()
    again = likelihood.detach().clone().requires_grad_()
    total = torch.zeros(())
    for row, plan in enumerate(drawn):  # the plain formula, line by line
        logits = (again[row, : len(plan.draw.pool)] + torch.tensor(plan.draw.prior)) / SHARPNESS[row]
        for items, gains in zip(plan.draw.lists, plan.advantages, strict=True):
            left = list(range(len(plan.draw.pool)))
            for item, gain in zip(items, gains, strict=True):
                place = plan.draw.pool.index(item)
                total = total - gain * (logits[place] - torch.logsumexp(logits[left], 0))
                left.remove(place)
    (total / 6).backward()
    assert torch.allclose(likelihood.grad, again.grad, atol=1e-6)
    assert likelihood.grad[1, 3] == 0  # a place that pads


def test_a_ratio_that_ran_away_is_clipped() -> None:
    likelihood = torch.zeros(2, 4)
    batch = ListBatch.of(plans(likelihood), torch.device("cpu"))
    moved = torch.tensor([[3.0, 0, 0, 0], [3.0, 0, 0, 0]], requires_grad=True)
    assert list_loss(moved, batch, **CLIP).clipped > 0


def test_the_pull_is_nothing_at_the_start_and_grows_away_from_it() -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert float(pull(logits, logits)) == pytest.approx(0.0, abs=1e-6)
    assert float(pull(logits + torch.arange(5.0), logits)) > 0.1
    assert float(pull(logits[:0], logits[:0])) == 0.0


@pytest.mark.parametrize("at_once", [1, 7, 1_000_000])
def test_the_pull_and_its_gradient_are_those_of_autograd(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "_LOGITS_PER_CHUNK", at_once)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 5, generator=generator)
    logits = torch.randn(4, 5, generator=generator, requires_grad=True)
    again = logits.detach().clone().requires_grad_()
    found = pull(logits, start)
    expected = torch.nn.functional.kl_div(
        again.log_softmax(-1), start.log_softmax(-1), log_target=True, reduction="batchmean"
    )
    (3 * found).backward()
    (3 * expected).backward()
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    assert torch.allclose(logits.grad, again.grad, atol=1e-6)
