"""A forward pass of Qwen2 (the tiny policy's architecture) and Llama without what a rollout doesn't need.

Against the library's own: in the last layer only tokens behind which something is predicted go
on past keys and values (nothing else of the others is looked at), keys and values are not repeated for the queries
that share them, and rotary positions are one complex product. The same numbers up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM

from deeprec.rollout.engines.cache import RowCache

_PROBED = 8  # tokens on which a replaced forward pass is compared
_ROUNDING = 1e-4  # of the largest logit; bfloat16 is off by some 1e-2


def lean_pass(model: PreTrainedModel, context_length: int) -> LeanPass | None:
    """A LeanPass for this model as it is now, or None where only its own forward pass will do."""
    # Adapters, hooks (sharding) and mixed precision want to be run.
    if (
        not isinstance(model, Qwen2ForCausalLM | LlamaForCausalLM)
        or not _is_plain(model)
        or model.dtype != torch.float32
        or torch.is_autocast_enabled(model.device.type)
        or any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    ):
        return None
    lean = LeanPass(model, context_length)
    # TRL and others put functions of their own in its place, mostly with the same numbers: that is tried.
    if getattr(model.forward, "__func__", None) is type(model).forward:
        return lean
    with _exact_products():
        return lean if _agrees(lean, model, min(_PROBED, context_length)) else None


def _is_plain(model: PreTrainedModel) -> bool:
    """Whether the model is one of the two as they are, not a kind of its own, and with the usual parts."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        type(model) in (Qwen2ForCausalLM, LlamaForCausalLM)
        and rope.get("rope_type", "default") == "default"
        and config.hidden_act == "silu"
        and not getattr(config, "mlp_bias", False)
    )


@contextmanager
def _exact_products() -> Iterator[None]:
    """Whole float32 products, also where TF32 was allowed: its rounding says nothing about who replaced what."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@torch.inference_mode()
def _agrees(lean: LeanPass, model: PreTrainedModel, tokens: int) -> bool:
    """Whether the model's forward pass, which somebody replaced, gives the same logits as the lean one.

    TRL puts one in front that changes nothing unless it is asked for losses, Accelerate one that
    computes in bfloat16: who did it, and how, differs by version, so that what it does decides.
    """
    places = torch.arange(tokens, device=model.device)[None]
    ids = (places + 1) * model.config.vocab_size // (tokens + 1)  # spread over the vocabulary
    theirs = model(input_ids=ids, position_ids=places, use_cache=False).logits[0]
    if theirs.dtype != torch.float32:
        return False
    cache = RowCache()
    cache.begin(1, slice(0, 1), places + 1, tokens + 1)
    unseen = torch.arange(tokens + 1, device=model.device) > places[..., None] + 1
    unseen[..., 0] = True  # slot 0 is never visible
    mask = torch.zeros(unseen.shape, device=model.device)
    mask.masked_fill_(unseen, torch.finfo(mask.dtype).min)
    ours = lean(ids, mask[:, None], places, cache, tokens, None)
    return bool((ours - theirs).abs().max() <= _ROUNDING * theirs.abs().max())


class LeanPass:
    """Logits after the last tokens of each row. Made anew after each change of weights."""

    def __init__(self, model: Qwen2ForCausalLM | LlamaForCausalLM, context_length: int) -> None:
        config, rotary = model.config, model.model.rotary_emb
        self._model = model
        self._eps, self._width = config.rms_norm_eps, config.hidden_size
        self._shared = config.num_attention_heads // config.num_key_value_heads  # queries to a key
        angles = (
            torch.arange(context_length, device=rotary.inv_freq.device)[:, None] * rotary.inv_freq.float()
        )
        self._turns = torch.polar(torch.ones_like(angles), angles)[:, None]  # (positions, 1, head width / 2)
        attentions = [layer.self_attn for layer in model.model.layers]
        self._queries = [_in_pairs(one.q_proj, one.head_dim) for one in attentions]
        self._keys = [_in_pairs(one.k_proj, one.head_dim) for one in attentions]

    def __call__(
        self,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: RowCache,
        columns: int,
        wanted: Tensor | None,
    ) -> Tensor:
        """Logits (N, V) in the last `columns` of ids and positions (rows, tokens), where `wanted` is true.

        `mask` (rows, 1, tokens, slots) is added to the scores; `wanted` (rows * columns) or None for all.
        """
        model = self._model.model
        turns = self._turns[positions]
        hidden = functional.embedding(ids, model.embed_tokens.weight)  # (rows, tokens, width)
        for number, layer in enumerate(model.layers):
            normed = self._norm(hidden, layer.input_layernorm)
            keys, values = self._remember(number, layer.self_attn, normed, turns, cache)
            if number == len(model.layers) - 1:
                hidden, normed, turns = hidden[:, -columns:], normed[:, -columns:], turns[:, -columns:]
                mask = mask[:, :, -columns:]
            hidden = hidden + self._attend(number, layer.self_attn, normed, turns, keys, values, mask)
            normed = self._norm(hidden, layer.post_attention_layernorm)
            gate = functional.silu(functional.linear(normed, layer.mlp.gate_proj.weight))
            gate *= functional.linear(normed, layer.mlp.up_proj.weight)
            hidden = hidden + functional.linear(gate, layer.mlp.down_proj.weight)
        hidden = hidden.reshape(-1, self._width)
        if wanted is not None:
            hidden = hidden[wanted]
        return functional.linear(self._norm(hidden, model.norm), self._model.lm_head.weight)

    def _norm(self, states: Tensor, norm: Any) -> Tensor:
        return functional.rms_norm(states, (self._width,), norm.weight, self._eps)

    def _remember(
        self, number: int, layer: Any, normed: Tensor, turns: Tensor, cache: RowCache
    ) -> tuple[Tensor, Tensor]:
        """Put keys and values of these tokens into the cache; all that they may see of it."""
        shape = (*normed.shape[:2], -1, layer.head_dim)
        keys = _turned(functional.linear(normed, *self._keys[number]).view(shape), turns)
        values = functional.linear(normed, layer.v_proj.weight, layer.v_proj.bias).view(shape)
        return cache.update(keys.transpose(1, 2), values.transpose(1, 2), number)

    def _attend(
        self,
        number: int,
        layer: Any,
        normed: Tensor,
        turns: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor,
    ) -> Tensor:
        rows, tokens, _ = normed.shape
        width, heads = layer.head_dim, keys.shape[1]
        query = functional.linear(normed, *self._queries[number]).view(rows, tokens, -1, width)
        query = _turned(query, turns).view(rows, tokens, heads, self._shared, width)
        # Queries that share keys as if they were more tokens of one head: keys are read once for all.
        query = query.permute(0, 2, 3, 1, 4).reshape(rows, heads, -1, width)
        # A single token's mask fits every head as it is.
        if self._shared > 1 and tokens > 1:
            mask = mask.repeat(1, 1, self._shared, 1)
        found = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        found = found.view(rows, heads, self._shared, tokens, width).permute(0, 3, 1, 2, 4)
        return functional.linear(found.reshape(rows, tokens, -1), layer.o_proj.weight, layer.o_proj.bias)


def _in_pairs(projection: Any, head_dim: int) -> tuple[Tensor, Tensor | None]:
    """Weight and bias, rows of each head reordered so that the two that turn together are neighbours.

    Queries and keys are reordered alike, which leaves their products as they are.
    """
    half = head_dim // 2
    order = torch.arange(head_dim, device=projection.weight.device).view(2, half).t().flatten()
    weight, bias = projection.weight.detach(), projection.bias
    turned = weight.view(-1, head_dim, weight.shape[1])[:, order].reshape(weight.shape)
    return turned, None if bias is None else bias.detach().view(-1, head_dim)[:, order].flatten()


def _turned(states: Tensor, turns: Tensor) -> Tensor:
    """States (rows, tokens, heads, head width) turned by their positions, in place."""
    torch.view_as_complex(states.view(*states.shape[:-1], -1, 2)).mul_(turns)
    return states
