"""Other ways to write the same trajectories: the naive one, and one without Hugging Face code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, Qwen2ForCausalLM

from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.limits import new_token_cap
from deeprec.rollout.engines.local import LocalEngine

NAIVE = "generate() on whole contexts"
FLOOR = "a token a pass, no Hugging Face code"


class NaiveEngine:
    """An Engine that calls `generate()` on the padded whole contexts, anew in every turn.

    The batch writes in lock-step until its last row is done. It is not asked for
    log-probabilities (they read 0), which `LocalEngine` always gives.
    """

    def __init__(self, model: PreTrainedModel, context_length: int) -> None:
        self._model = model
        self._context_length = context_length

    @property
    def context_length(self) -> int:
        """Tokens that prompt and response may have together."""
        return self._context_length

    def reseed(self, seed: int) -> None:
        """`generate()` draws from torch's own stream."""
        torch.manual_seed(seed)

    def forget(self) -> None:
        """Nothing is kept between calls."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        """One segment per request, in order; what a row wrote beyond its own cap is cut off."""
        caps = [new_token_cap(request, sampling, self._context_length) for request in requests]
        longest = max(len(request.context) for request in requests)
        ids = [[0] * (longest - len(request.context)) + list(request.context) for request in requests]
        mask = [[0] * (longest - len(request.context)) + [1] * len(request.context) for request in requests]
        choice: dict[str, Any] = {"do_sample": False}
        if sampling.temperature:
            choice = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0}
            choice["top_p"] = sampling.top_p
        device = self._model.device
        written = self._model.generate(
            torch.tensor(ids, device=device),
            attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=max(caps),
            eos_token_id=sorted(sampling.stop_ids),
            pad_token_id=0,
            **choice,
        )[:, longest:].tolist()
        return [_cut(row, cap, sampling.stop_ids) for row, cap in zip(written, caps, strict=True)]


def _cut(ids: list[int], cap: int, stops: frozenset[int]) -> Segment:
    for position, token in enumerate(ids[:cap]):
        if token in stops:
            return Segment(tuple(ids[: position + 1]), (0.0,) * (position + 1), True)
    return Segment(tuple(ids[:cap]), (0.0,) * min(cap, len(ids)), False)


class FloorEngine(LocalEngine):
    """`LocalEngine` around a forward pass of Qwen2 with nothing between the operations, and without guesses.

    What was thought to be the floor, all of the library's own time being gone. `LocalEngine`
    itself goes below it by doing less (see `engines.qwen2`, `engines.drafts`). For measuring alone.
    """

    def __init__(self, model: Qwen2ForCausalLM, *, seed: int) -> None:
        super().__init__(model, seed=seed, guesses=0)
        frequencies = model.model.rotary_emb.inv_freq
        angles = torch.arange(self.context_length, device=frequencies.device)[:, None] * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        self._cos, self._sin = angles.cos(), angles.sin()

    def _run_model(
        self, ids: Tensor, mask: Tensor, positions: Tensor, columns: int, wanted: Tensor | None
    ) -> Tensor:
        model, config = self._model.model, self._model.config
        eps, width = config.rms_norm_eps, config.hidden_size
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]
        hidden = functional.embedding(ids, model.embed_tokens.weight)  # (B, T, D)
        for number, layer in enumerate(model.layers):
            normed = functional.rms_norm(hidden, (width,), layer.input_layernorm.weight, eps)
            hidden = hidden + self._attend(layer.self_attn, number, normed, mask, cos, sin)
            normed = functional.rms_norm(hidden, (width,), layer.post_attention_layernorm.weight, eps)
            gate, up, down = layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj
            hidden = hidden + functional.linear(
                functional.silu(functional.linear(normed, gate.weight))
                * functional.linear(normed, up.weight),
                down.weight,
            )
        last = hidden[:, -columns:].flatten(0, 1)
        last = last if wanted is None else last[wanted]
        return functional.linear(
            functional.rms_norm(last, (width,), model.norm.weight, eps), self._model.lm_head.weight
        )

    def _attend(
        self, layer: Any, number: int, normed: Tensor, mask: Tensor, cos: Tensor, sin: Tensor
    ) -> Tensor:
        rows, tokens, _ = normed.shape
        shape, groups = (rows, tokens, -1, layer.head_dim), layer.num_key_value_groups
        query, key, value = (
            functional.linear(normed, part.weight, part.bias).view(shape).transpose(1, 2)
            for part in (layer.q_proj, layer.k_proj, layer.v_proj)
        )
        keys, values = self._rows.cache.update(_rotate(key, cos, sin), value, number)
        query = _rotate(query, cos, sin)
        if tokens == 1:  # queries of one group as if they were tokens: keys are not repeated
            query = query.reshape(rows, -1, groups, layer.head_dim)
        elif groups > 1:
            keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
        found = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        found = found.reshape(rows, -1, tokens, layer.head_dim).transpose(1, 2).reshape(rows, tokens, -1)
        return functional.linear(found, layer.o_proj.weight)


def _rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = states.chunk(2, dim=-1)
    return states * cos + torch.cat((-second, first), dim=-1) * sin
