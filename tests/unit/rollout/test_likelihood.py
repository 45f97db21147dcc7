"""Logits at chosen positions against the whole model's."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from deeprec.rollout.likelihood import logits_of

IDS = torch.tensor([[5, 9, 11, 4, 7, 3], [8, 1, 2, 6, 0, 0]])
ATTENTION = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
WANTED = torch.tensor([[0, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0]])


@pytest.fixture(params=["qwen2", "gpt2"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if request.param == "gpt2":
            shape = GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32,
                               bos_token_id=0, eos_token_id=0)  # fmt: skip
            return GPT2LMHeadModel(shape).eval()
        shape = Qwen2Config(vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                            num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False)  # fmt: skip
        return Qwen2ForCausalLM(shape).eval()


def whole(model: PreTrainedModel) -> torch.Tensor:
    logits = model(input_ids=IDS, attention_mask=ATTENTION).logits[:, :-1]
    return logits[WANTED[:, 1:].bool()]


def test_the_same_logits_row_by_row(model: PreTrainedModel) -> None:
    found = logits_of(model, IDS, ATTENTION, WANTED)
    assert found.shape == (5, 40)
    torch.testing.assert_close(found, whole(model), atol=1e-5, rtol=0)


def test_the_same_gradients(model: PreTrainedModel) -> None:
    targets = IDS[:, 1:][WANTED[:, 1:].bool()]
    gradients = []
    for logits in (whole(model), logits_of(model, IDS, ATTENTION, WANTED)):
        model.zero_grad()
        torch.nn.functional.cross_entropy(logits, targets).backward()
        gradients.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=0)


def test_a_first_token_is_never_wanted(model: PreTrainedModel) -> None:
    first = WANTED.clone()
    first[:, 0] = 1
    assert torch.equal(logits_of(model, IDS, ATTENTION, first), logits_of(model, IDS, ATTENTION, WANTED))


def test_the_model_is_left_as_it_was(model: PreTrainedModel) -> None:
    before = model(input_ids=IDS, attention_mask=ATTENTION).logits
    logits_of(model, IDS, ATTENTION, WANTED)
    assert torch.equal(model(input_ids=IDS, attention_mask=ATTENTION).logits, before)
    with pytest.raises(IndexError):
        logits_of(model, IDS, ATTENTION, WANTED[:, :3])
    assert torch.equal(model(input_ids=IDS, attention_mask=ATTENTION).logits, before)
