"""Preferences for retrievers that read no text: items whose text fits move up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeprec.data.catalog import Catalog
from deeprec.trm.base import Histories, Preferences, Retrieval, Retriever, TextEncoder
from deeprec.trm.ranking import check_preferences, top_items
from deeprec.trm.text import item_text


class TextSteered:
    """Any Retriever, steered by the cosine of an item's text with the preference.

    With a preference, the retriever's own scores s are scaled so that the mean of the catalogue
    is 0 and the best item 1, and `weight` w times the cosine is added:

        (s - mean s) / (max s - mean s) + w cos(text of the item, preference)

    At weight 1 a perfect fit makes up for the whole way from a middling item to the best one. That reaches items
    which nobody has had yet. Without a preference the retriever answers as it is.

    With weight 0 nothing is added, and the retriever is given the preference itself. It is
    an ExplorableRetriever: a policy can be trained against it.
    """

    def __init__(
        self,
        retriever: Retriever,
        encoder: TextEncoder,
        catalog: Catalog,
        weight: float = 1.0,
        instruction: str = "",
    ) -> None:
        """`instruction` is put before a preference when it is embedded."""
        self.retriever = retriever
        self.encoder = encoder
        self._catalog = catalog
        self._weight = weight
        self._instruction = instruction
        self._text: NDArray[np.float32] | None = None

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return self.retriever.n_items

    def text_vectors(self) -> NDArray[np.float32]:
        """Text vectors of the items (n_items + 1, D_text), unit rows, row 0 zero."""
        if self._text is None:
            vectors = self.encoder.encode([item_text(item) for item in self._catalog.items])
            self._text = np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors])
        return self._text

    def item_vectors(self) -> NDArray[np.float32] | None:
        """Those of the retriever."""
        return self.retriever.item_vectors()

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """The retriever's scores, moved where there is a preference; (B, n_items + 1)."""
        wanted = check_preferences(preferences, len(histories))
        if not self._weight:
            return self.retriever.score(histories, wanted)
        steered = [row for row, text in enumerate(wanted) if text is not None]
        scores = self.retriever.score(histories)
        if steered:
            scores = scores.copy()  # a retriever may keep what it returned
            texts = [f"{self._instruction}{wanted[row]}" for row in steered]
            fit = np.asarray(self.encoder.encode(texts) @ self.text_vectors().T, dtype=np.float32)
            scores[steered] = _scaled(scores[steered]) + np.float32(self._weight) * fit
            scores[:, 0] = -np.inf
        return scores

    def retrieve(
        self,
        histories: Histories,
        preferences: Preferences | None = None,
        k: int = 20,
        exclude: Histories | None = None,
    ) -> Retrieval:
        """Top k items per history; see the Retriever contract."""
        wanted = check_preferences(preferences, len(histories))
        if not self._weight or not any(wanted):  # the retriever may have a faster way than scoring all
            return self.retriever.retrieve(histories, wanted, k, exclude)
        return top_items(self.score(histories, wanted), k, exclude)


def _scaled(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row with its mean at 0 and its largest score at 1; a row of equal scores becomes 0."""
    items = scores[:, 1:]
    mean = items.mean(axis=1, keepdims=True)
    best = items.max(axis=1, keepdims=True) - mean
    flat = best <= 1e-6 * np.abs(mean)
    return np.where(flat, 0, (scores - mean) / np.where(flat, 1, best)).astype(np.float32)
