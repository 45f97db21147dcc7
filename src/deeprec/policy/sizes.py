"""How much room a policy takes on the disk, and its checkpoints while it is trained."""

from __future__ import annotations

from transformers import PreTrainedModel

from deeprec.policy.loading import Policy

_TOKEN = 200  # bytes of a token in tokenizer.json, a long title included
_STATE = 3  # weights and two moments of the optimizer


def policy_size(policy: Policy) -> int:
    """Bytes of a saved policy with its tokenizer, about."""
    return _bytes(policy.model) + _TOKEN * len(policy.tokenizer)


def checkpoint_size(policy: Policy, *, with_tokenizer: bool = True) -> int:
    """Bytes of a checkpoint of its training, about; adapters are kept without the model under them."""
    return _STATE * _bytes(policy.model, trained=True) + with_tokenizer * _TOKEN * len(policy.tokenizer)


def _bytes(model: PreTrainedModel, *, trained: bool = False) -> int:
    weights = (weight for weight in model.parameters() if weight.requires_grad or not trained)
    return sum(weight.numel() * weight.element_size() for weight in weights)
