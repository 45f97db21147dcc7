"""The fusion that the paper states, as a comparison: user state and preference text in one vector.

    query    0.5 (h + adaptor(text(p)))
    item     e_v

The factor changes no ranking and is left out. Encoder, items and score (the inner product that the
encoder was fitted with) are those of our network, so that without a preference both rank alike, and
what differs is the fusion alone. `trm.kind = "published-fusion"` fits it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from deeprec.trm.model import Adaptor, PreferenceNetwork, SequentialEncoder

PUBLISHED = "published-fusion"
_EXPERTS = 8


class MeanBranch(nn.Module):
    """A preference's text, adapted by a mixture of 8 linear experts, is added to the state."""

    def __init__(self, text_dim: int, width: int, adaptor: Adaptor | None = None) -> None:
        """`adaptor` None: one of its own, drawn anew when its training begins."""
        super().__init__()
        self._draws = adaptor is None
        self.adaptor = Adaptor(text_dim, width, _EXPERTS) if adaptor is None else adaptor

    @torch.no_grad()
    def start_from(self, features: Tensor) -> None:
        """Draw the adaptor. Only here, so that the seed of its training alone decides where it starts."""
        if self._draws:
            dim = self.adaptor.experts.shape[1]
            self.adaptor.experts.normal_(std=dim**-0.5)
            if self.adaptor.router is not None:
                self.adaptor.router.reset_parameters()

    def add(self, states: Tensor, phrases: Tensor) -> Tensor:
        """States (N, W) and phrases (N, P, D), zero rows where there are fewer -> queries (N, W)."""
        steered: Tensor = states + self.adaptor(functional.normalize(phrases.sum(dim=1), dim=-1))
        return steered


class PublishedNetwork(PreferenceNetwork):
    """What a TRM and the branch's training ask of a network, with the published fusion."""

    def __init__(self, encoder: SequentialEncoder, text_dim: int, adaptor: Adaptor | None = None) -> None:
        nn.Module.__init__(self)  # the encoder is given, and there is no branch of the other kind
        self.encoder = encoder
        self.branch = MeanBranch(text_dim, encoder.start.shape[0], adaptor)  # type: ignore[assignment]

    def items(self, table: Tensor, features: Tensor) -> Tensor:
        """The encoder's item vectors (I + 1, W); `features` say nothing here."""
        return table

    def queries(self, states: Tensor, phrases: Tensor | None = None) -> Tensor:
        """Queries (N, W) from states (N, W) and `phrases` (N, P, D); none: the states."""
        if phrases is None:
            return states
        branch: MeanBranch = self.branch  # type: ignore[assignment]
        return branch.add(states, phrases)
