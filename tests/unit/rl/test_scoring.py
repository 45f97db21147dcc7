"""Scores of rows that are padded in front, by a model that has no more positions than the longest row needs."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from deeprec.rl.scoring import score_in_tiles, score_sampled
from deeprec.trm import softmax

PROMPTS, RESPONSES = ((1, 2, 3, 4, 5, 6), (7,)), ((8, 9), (1, 2, 3, 4, 5, 6, 7))
POSITIONS = 8  # of the longest row: side by side as TRL pads them, rows take 13 columns


@pytest.fixture(params=[1.0, 0.7])
def temperature(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.mark.parametrize("block", [24, 1_000_000])  # two rows of logits at once, all
def test_tiles_and_logits_read_each_row_at_its_own_positions(
    temperature: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "_LOGITS_PER_CHUNK", block)
    from trl.trainer.utils import add_fused_lm_head

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape = GPT2Config(vocab_size=12, n_embd=16, n_layer=1, n_head=2, n_positions=POSITIONS)
        model = GPT2LMHeadModel(shape).eval()
    ids, seen, sampled = (torch.zeros((2, 13), dtype=torch.long) for _ in range(3))
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        ids[row, 6 - len(prompt) : 6 + len(response)] = torch.tensor(prompt + response)
        seen[row, 6 - len(prompt) : 6 + len(response)] = 1
        sampled[row, 6 : 6 + len(response)] = 1
    sampled[1, 8] = 0  # written by the environment
    expected, spread = torch.zeros((2, 13)), torch.zeros((2, 13))
    with torch.no_grad():
        for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            logs = (model(torch.tensor([prompt + response])).logits[0] / temperature).log_softmax(-1)
            for place, token in enumerate(response):
                if sampled[row, 6 + place]:
                    behind = logs[len(prompt) + place - 1]
                    expected[row, 6 + place] = behind[token]
                    spread[row, 6 + place] = -(behind.exp() * behind).sum()
    at_once = score_sampled(model, ids, seen, sampled, temperature)
    add_fused_lm_head(model, temperature=temperature, outputs=("log_probs", "entropy"))
    tiles = score_in_tiles(model, ids, seen, sampled)
    for chances, entropies in ((at_once.log_probabilities, at_once.entropies), tiles):
        torch.testing.assert_close(chances, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(entropies, spread, atol=1e-5, rtol=1e-5)
        assert chances.requires_grad
        assert not entropies.requires_grad
