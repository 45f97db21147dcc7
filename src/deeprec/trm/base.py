"""The Retriever contract: histories and preferences in, ranked items out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Histories = Sequence[Sequence[int]]
Preferences = Sequence[str | None]


class Retrieval(NamedTuple):
    """The top k items for each of B requests, best first; ties break by item index."""

    item_indices: NDArray[np.int64]  # (B, k)
    scores: NDArray[np.float32]  # (B, k)


@runtime_checkable
class Retriever(Protocol):
    """Ranks the whole catalogue for a history, steered by an optional preference.

    Deterministic, batched and in-process. Item indices run from 1 to `n_items`; 0 pads.
    A history may be of any length (the retriever reads its latest part) and may be empty.
    A preference that is None or blank means: no preference.
    """

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        ...

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Scores of all items, (B, n_items + 1); column 0 (padding) is -inf."""
        ...

    def retrieve(
        self,
        histories: Histories,
        preferences: Preferences | None = None,
        k: int = 20,
        exclude: Histories | None = None,
    ) -> Retrieval:
        """Top k items per history, without those in `exclude` (parallel to `histories`).

        Raises RetrievalError for an unknown item index, or for k beyond what is left of
        the catalogue.
        """
        ...

    def item_vectors(self) -> NDArray[np.float32] | None:
        """Unit-length item vectors (n_items + 1, D), row 0 zero; None if there are none.

        The row of an item without a vector is zero too.
        """
        ...


@runtime_checkable
class KeepsHistories(Protocol):
    """A retriever that keeps what it computed of a history for the next time that it is asked with it."""

    def forget_histories(self) -> None:
        """Compute it anew from now on: next to others, sums may differ in their last bits."""
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into unit-length vectors."""

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text would get another vector."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, D) of unit length; a text without any known word gets a zero row."""
        ...


@runtime_checkable
class ExplorableRetriever(Retriever, Protocol):
    """A retriever that a policy can be trained against: rewards measure with its text vectors."""

    @property
    def encoder(self) -> TextEncoder:
        """What preferences are embedded with."""
        ...

    def text_vectors(self) -> NDArray[np.float32]:
        """Text vectors of the items (n_items + 1, D_text) in the encoder's space, unit rows, row 0 zero."""
        ...
