"""Next-token logits at chosen positions only.

In a small model the projection onto the vocabulary costs more than all layers, and most
tokens of a trajectory were written by the environment: their logits are never needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def logits_of(
    model: PreTrainedModel,
    input_ids: Tensor,
    attention_mask: Tensor,
    wanted: Tensor,
    position_ids: Tensor | None = None,
) -> Tensor:
    """Logits (N, V) that predict the N tokens where `wanted` (B, T) is true, row by row.

    `input_ids` and `attention_mask` are (B, T). The first token of a row has nothing in
    front of it and can't be wanted. Works for any causal LM: only the input of its output
    layer is narrowed, and what it does to logits afterwards (scaling, capping) stays. With
    `position_ids` (B, T) the mask may also be one that is added to the scores, (B, 1, T, T).
    """
    before = wanted[:, 1:].bool()

    def narrow(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][:, :-1][before], *inputs[1:])

    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(narrow)
    try:
        options = {} if position_ids is None else {"position_ids": position_ids}
        logits: Tensor = model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **options
        ).logits
    finally:
        handle.remove()
    return logits


def last_logits(model: PreTrainedModel, contexts: Sequence[tuple[int, ...]]) -> Tensor:
    """Logits (B, V) behind the last token of each context."""
    # One more column: `logits_of` gives what predicts a token, here one that isn't there yet.
    width = max(len(context) for context in contexts) + 1
    options: dict[str, Any] = {"dtype": torch.long, "device": model.device}
    ids = torch.tensor([[*context, *[0] * (width - len(context))] for context in contexts], **options)
    wanted = torch.zeros_like(ids)
    wanted[torch.arange(len(contexts)), torch.tensor([len(context) for context in contexts])] = 1
    # Padding stands behind, where causal attention never looks.
    return logits_of(model, ids, torch.ones_like(ids), wanted)
