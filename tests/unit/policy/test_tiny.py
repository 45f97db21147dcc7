"""The embedded policy's model."""

from __future__ import annotations

import math

import pytest
import torch
from test_tokenizer import LABELS, TEXTS, catalog_of
from transformers import Qwen2ForCausalLM

from deeprec.config import PolicyConfig
from deeprec.errors import PolicyError
from deeprec.policy import tiny
from deeprec.policy.tiny import build_tiny
from deeprec.policy.tokenizer import build_tokenizer

CONFIG = PolicyConfig(width=32, layers=3, heads=4, key_value_heads=2, inner=48, context=64)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(catalog_of(LABELS), TEXTS, pieces=200)


def test_sizes_come_from_the_config(tokenizer) -> None:
    model = build_tiny(CONFIG, tokenizer, seed=0)
    # Per layer: q 32*32+32, k and v 2*(16*32+16), o 32*32, three feed-forward 32*48, two norms.
    layer = 32 * 32 + 32 + 2 * (16 * 32 + 16) + 32 * 32 + 3 * 32 * 48 + 2 * 32
    assert sum(weight.numel() for weight in model.parameters()) == 3 * layer + 32 + 32 * len(tokenizer)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.config.max_position_embeddings == 64
    assert model.config.eos_token_id == tokenizer.eos_token_id


def test_a_seed_fixes_the_weights_and_leaves_the_global_state(tokenizer) -> None:
    before = torch.get_rng_state()
    first, second, other = (build_tiny(CONFIG, tokenizer, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_it_starts_close_to_uniform(tokenizer) -> None:
    model = build_tiny(CONFIG, tokenizer, seed=0)
    ids = torch.randint(len(tokenizer), (8, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = float(model(input_ids=ids, labels=ids).loss)
    assert abs(loss - math.log(len(tokenizer))) < 0.5


def own_logits(model: Qwen2ForCausalLM) -> list[torch.Tensor]:
    """For each head of each layer, (V, V): logits that it writes when it looks at one token alone.

    In deviations from the mean over the vocabulary.
    """
    embeddings = model.get_input_embeddings().weight
    found = []
    for layer in model.model.layers:
        attention, size = layer.self_attn, layer.self_attn.head_dim
        values = attention.v_proj(layer.input_layernorm(embeddings))
        for head in range(model.config.num_attention_heads):
            shared = head // attention.num_key_value_groups
            read = values[:, shared * size : (shared + 1) * size]
            logits = read @ attention.o_proj.weight[:, head * size : (head + 1) * size].T @ embeddings.T
            found.append((logits - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True))
    return found


@torch.no_grad()
def test_every_head_raises_the_logit_of_the_token_it_looks_at(
    tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying = [float(logits.diagonal().mean()) for logits in own_logits(build_tiny(CONFIG, tokenizer, 0))]
    monkeypatch.setattr(tiny, "_COPY_GAIN", 0.0)
    plain = [float(logits.diagonal().mean()) for logits in own_logits(build_tiny(CONFIG, tokenizer, 0))]
    assert len(copying) == 3 * 4
    assert min(copying) > 1.5
    assert max(map(abs, plain)) < 0.75


@torch.no_grad()
def test_what_stands_in_the_context_is_likelier_than_what_does_not(tokenizer) -> None:
    model = build_tiny(CONFIG, tokenizer, seed=0)
    generator = torch.Generator().manual_seed(0)
    ids = torch.stack([torch.randperm(len(tokenizer), generator=generator)[:12] for _ in range(64)])
    logits = model(input_ids=ids).logits[:, -1]
    logits = (logits - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True)
    # The last token's own embedding is in the residual stream anyway: only the others show attention.
    assert float(logits.gather(1, ids[:, :-1]).mean()) > 0.3


def test_dtype(tokenizer) -> None:
    config = CONFIG.model_copy(update={"dtype": "bfloat16"})
    assert build_tiny(config, tokenizer, seed=0).dtype == torch.bfloat16


@pytest.mark.parametrize("sizes", [{"width": 30}, {"heads": 4, "key_value_heads": 3}, {"width": 12}])
def test_sizes_that_do_not_divide_are_refused(tokenizer, sizes) -> None:
    with pytest.raises(PolicyError, match=r"policy\.heads"):
        build_tiny(CONFIG.model_copy(update=sizes), tokenizer, seed=0)
