"""A retriever that several threads may ask."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from deeprec.trm.base import Histories, Preferences, Retrieval, Retriever


class SharedRetriever:
    """A Retriever whose calls never overlap: the contract doesn't ask for more, and one takes milliseconds.

    The policy's thread asks it for items that fit preferences, another one for plain rankings.
    """

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._lock = threading.Lock()

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return self._retriever.n_items

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Scores of all items; see the Retriever contract."""
        with self._lock:
            return self._retriever.score(histories, preferences)

    def retrieve(
        self,
        histories: Histories,
        preferences: Preferences | None = None,
        k: int = 20,
        exclude: Histories | None = None,
    ) -> Retrieval:
        """Top k items per history; see the Retriever contract."""
        with self._lock:
            return self._retriever.retrieve(histories, preferences, k, exclude)

    def item_vectors(self) -> NDArray[np.float32] | None:
        """Unit-length item vectors; see the Retriever contract."""
        with self._lock:
            return self._retriever.item_vectors()
