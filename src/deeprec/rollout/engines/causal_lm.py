"""What the local engine asks of a transformers model before it runs it, and while."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from deeprec.errors import EngineError
from deeprec.rollout.engines.base import Request


def keeps_some_logits(model: PreTrainedModel) -> bool:
    """Whether `model` can compute logits of the last columns alone (argument `logits_to_keep`).

    Raises EngineError for a model that takes no positions.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # inside LoRA adapters
    forward = inspect.signature(inner.forward).parameters
    if "position_ids" not in forward:
        raise EngineError(f"{type(model).__name__} takes no position_ids; use another engine or model")
    return "logits_to_keep" in forward


def context_limit(model: PreTrainedModel) -> int | None:
    """Tokens that a model has positions for; None where it doesn't say."""
    found: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return found


def cache_argument(model: PreTrainedModel) -> str:
    """What `model` calls its keys and values: `cache` since transformers 5.24, which warns of the former name."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    # Of the class: whoever put a forward pass in front of the model's may take any arguments.
    return "cache" if "cache" in inspect.signature(type(inner).forward).parameters else "past_key_values"


def usable_context(model: PreTrainedModel, wanted: int | None) -> int:
    """Context length within which plain causal attention is what the model does.

    `wanted` lowers it further. Raises EngineError for attention that can't be masked by
    rows, for layers that keep no keys and values, and where the length is unknown.
    """
    config = model.config.get_text_config()
    kind = getattr(config, "_attn_implementation", None)
    if kind not in {"sdpa", "eager"}:
        raise EngineError(f"attention '{kind}' can't mask by rows; load the model with attention 'sdpa'")
    # A model that doesn't tell its layers apart has its window, if any, on all of them.
    layers = set(getattr(config, "layer_types", None) or ["sliding_attention"])
    if layers - {"full_attention", "sliding_attention"}:
        odd = ", ".join(sorted(layers - {"full_attention", "sliding_attention"}))
        raise EngineError(
            f"{type(model).__name__} has layers of kind {odd}, which the local engine can't cache"
        )
    limits = [context_limit(model), wanted]
    if "sliding_attention" in layers:
        limits.append(getattr(config, "sliding_window", None))  # within its window it is full attention
    known = [limit for limit in limits if limit]
    if not known:
        raise EngineError(f"{type(model).__name__} doesn't say how long its context is; give context_length")
    return min(known)


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """No gradients, dropout off, and the former mode of every part back afterwards."""
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in in_training:
            module.training = True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says that a device, or the machine, has no memory left."""
    if not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def memory_message(requests: Sequence[Request], caps: Sequence[int]) -> str:
    """Which setting to lower when these requests did not fit."""
    longest = max(len(request.context) + cap for request, cap in zip(requests, caps, strict=True))
    return (
        f"out of memory with {len(requests)} episodes of up to {longest} tokens; lower rollout.users_per_batch "
        "(rl.users_per_step in training), or rollout.response_tokens"
    )
