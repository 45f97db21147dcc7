"""A policy's weights under the names of its checkpoint, adapters merged, for an engine with a copy of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@torch.no_grad()
def named_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Name and value of every weight, one after another; the output layer's comes also where it is tied to the input's.

    What LoRA adapters and trained tokens add is in the values. The model itself is never
    merged and unmerged: in bfloat16 that would wear its weights off by rounding, step by step.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    embeddings, head = (
        _name_of(base, part) for part in (base.get_input_embeddings(), base.get_output_embeddings())
    )
    is_tied = base.config.get_text_config().tie_word_embeddings
    found = (
        _merged(base) if base is not model else ((name, w.detach()) for name, w in model.named_parameters())
    )
    for name, weight in found:
        yield name, weight
        if is_tied and name == f"{embeddings}.weight":
            yield f"{head}.weight", weight


def _name_of(base: Any, wanted: Any) -> str:
    names: dict[int, str] = {id(module): name for name, module in base.named_modules()}
    return names[id(wanted)]


def _merged(base: Any) -> Iterator[tuple[str, Tensor]]:
    from peft.tuners.lora import LoraLayer
    from peft.utils.other import TrainableTokensWrapper

    inside: list[str] = []  # what adapters own, and what they wrap
    tied = base.config.get_text_config().tie_word_embeddings
    head = base.get_output_embeddings() if tied else None
    for name, module in base.named_modules():
        if any(name.startswith(prefix) for prefix in inside):
            continue
        if isinstance(module, TrainableTokensWrapper):
            inside.append(f"{name}.")
            if module is not head:
                yield f"{name}.weight", module.token_adapter.get_merged_weights(module.active_adapters)
        elif isinstance(module, LoraLayer):
            inside.append(f"{name}.")
            inner = module.get_base_layer()
            added = sum(module.get_delta_weight(adapter) for adapter in module.active_adapters)
            yield f"{name}.weight", inner.weight.detach() + added
            if getattr(inner, "bias", None) is not None:
                yield f"{name}.bias", inner.bias.detach()
        elif module is not head:
            for own, weight in module.named_parameters(prefix=name, recurse=False):
                yield own, weight.detach()
