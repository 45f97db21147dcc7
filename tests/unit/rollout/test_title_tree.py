"""Titles behind a shared context: the same likelihoods as one row each, and their gradient."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from deeprec.rollout.title_tree import title_likelihoods

ROWS = [
    ((1, 2, 3), [(4, 5), (4,), (6, 7, 8)]),  # the second begins as the first does
    ((9, 8, 7, 6, 5, 4), [(1, 1), (2, 3)]),
]


@pytest.fixture(scope="module")
def model() -> Qwen2ForCausalLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Qwen2Config(vocab_size=12, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
                             num_attention_heads=2, num_key_value_heads=1, initializer_range=0.5)  # fmt: skip
        return Qwen2ForCausalLM(config).eval()


def plainly(model: Qwen2ForCausalLM, context: tuple[int, ...], title: tuple[int, ...]) -> torch.Tensor:
    logs = torch.log_softmax(model(torch.tensor([context + title])).logits[0], dim=-1)
    return sum((logs[len(context) + place - 1, token] for place, token in enumerate(title)), torch.zeros(()))


def test_each_title_is_as_likely_as_in_a_row_of_its_own(model: Qwen2ForCausalLM) -> None:
    with torch.no_grad():
        for (context, titles), found in zip(ROWS, title_likelihoods(model, ROWS), strict=True):
            expected = [float(plainly(model, context, title)) for title in titles]
            assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_the_gradient_is_that_of_rows_of_their_own(model: Qwen2ForCausalLM) -> None:
    weight = model.get_input_embeddings().weight
    sum(found.sum() for found in title_likelihoods(model, ROWS)).backward()
    together = weight.grad.clone()
    model.zero_grad()
    sum(plainly(model, context, title) for context, titles in ROWS for title in titles).backward()
    assert torch.allclose(together, weight.grad, atol=1e-4)
    model.zero_grad()
