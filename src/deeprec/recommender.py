"""The Recommender contract: examples in, rankings of catalogue items out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from deeprec.types import Example, Trajectory


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A ranking of at most k distinct item indices, and where it came from.

    `source` is the name of the recommender that ranked (`trm` where the TRM filled in for
    a policy that failed; `reason` then says why). `tokens` is how many tokens a language model
    sampled for this user: None without one. `is_valid` is False where its answer could not be
    read as a ranking: it counts as a miss, whatever `ranking` holds. With a `trajectory` both are
    read from the trajectory, and the fields here are not looked at.
    """

    ranking: tuple[int, ...]
    source: str
    reason: str | None = None
    trajectory: Trajectory | None = None
    tokens: int | None = None
    is_valid: bool = True


class Recommender(Protocol):
    """Anything that ranks catalogue items for users."""

    @property
    def name(self) -> str:
        """Short name used in tables."""
        ...

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        """One recommendation per example, in order. Never looks at `Example.target`."""
        ...
