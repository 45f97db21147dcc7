"""How much a policy's lists trust the TRM: two numbers in the policy's own configuration."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from deeprec.errors import PolicyError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEY = "deeprec_list_prior"  # in config.json, so that it is saved, copied and loaded with the weights
WISHED_KEY = "deeprec_list_prior_of_wishes"  # the same for lists of who said a wish


@dataclass(frozen=True, slots=True)
class ListPrior:
    """Weights of the two logarithms that the TRM adds to that of the policy.

    `asked` is that of the item's share in the softmax of the TRM's scores by the first preference, `plain` that of its
    share in the softmax of the scores without any.
    """

    asked: float = 1.0
    plain: float = 0.0

    @property
    def sharpness(self) -> float:
        """What logits are divided by, so that lists are drawn no more sharply than by one expert."""
        return max(1.0, self.asked + self.plain)


def prior_of(model: PreTrainedModel, *, wished: bool = False) -> ListPrior:
    """The weights that the policy was given; those of a product of equals before there are any.

    With `wished` those for who said a wish: a policy that has learned none weighs both alike. Raises PolicyError
    where the policy's config.json holds something else.
    """
    key = WISHED_KEY if wished and getattr(model.config, WISHED_KEY, None) is not None else KEY
    values = getattr(model.config, key, None)
    if values is None:
        return ListPrior()
    try:
        found = ListPrior(**{name: float(value) for name, value in values.items()})
    except (AttributeError, TypeError, ValueError):
        raise PolicyError(
            f"the policy's config.json: {key} = {values!r} should hold the numbers 'asked' and 'plain'; "
            "make the policy again, or remove the line"
        ) from None
    return found


def set_prior(model: PreTrainedModel, prior: ListPrior, *, wished: bool = False) -> None:
    """Give a policy its weights, or those for who said a wish; they are saved with it."""
    setattr(model.config, WISHED_KEY if wished else KEY, asdict(prior))
