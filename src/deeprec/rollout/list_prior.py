"""How much a policy's lists trust the TRM: two numbers in the policy's own configuration."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from deeprec.errors import PolicyError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEY = "deeprec_list_prior"  # in config.json, so that it is saved, copied and loaded with the weights


@dataclass(frozen=True, slots=True)
class ListPrior:
    """Weights of the two logarithms that the TRM adds to that of the policy.

    `asked` is that of the item's share in the softmax of the scores of the retrieval that it is
    likeliest in, `plain` that of its share in the softmax of the TRM's scores without a preference.
    """

    asked: float = 1.0
    plain: float = 0.0


def prior_of(model: PreTrainedModel) -> ListPrior:
    """The weights that the policy was given; those of a product of equals before there are any.

    Raises PolicyError where the policy's config.json holds something else.
    """
    values = getattr(model.config, KEY, None)
    if values is None:
        return ListPrior()
    try:
        found = ListPrior(**{name: float(value) for name, value in values.items()})
    except (AttributeError, TypeError, ValueError):
        raise PolicyError(
            f"the policy's config.json: {KEY} = {values!r} should hold the numbers 'asked' and 'plain'; "
            "make the policy again, or remove the line"
        ) from None
    return found


def set_prior(model: PreTrainedModel, prior: ListPrior) -> None:
    """Give a policy its weights; they are saved with it."""
    setattr(model.config, KEY, asdict(prior))
