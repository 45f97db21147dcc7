"""EASE: a linear autoencoder over items in closed form (Steck 2019, arXiv 1905.03375)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.trm.base import Histories, Preferences
from deeprec.trm.baselines import read_tensors, recency_matrix, seen_matrix
from deeprec.trm.ranking import Scored, check_histories, check_preferences

# The Gram matrix and two sets of weights in four bytes, the inverse in eight.
_BYTES = 20


class EASE(Scored):
    """Scores of all items as a weighted sum of what the history holds.

    The weights B solve min |X - XB|^2 + l2 |B|^2 with a zero diagonal, X being the users of the fit
    part (0 or 1). At rank time an item counts decay ** age: 1 is EASE as published. An empty
    history scores every item 0, so that item indices decide.
    """

    def __init__(self, weights: NDArray[np.float32], decay: float = 1.0) -> None:
        """`weights` is (n_items + 1, n_items + 1), row = item of the history; row and column 0 are zero."""
        self._weights = weights
        self._decay = decay

    @classmethod
    def fit(
        cls, dataset: Dataset, l2: float, decay: float = 1.0, gram: NDArray[np.float32] | None = None
    ) -> EASE:
        """Solve for the weights; `gram` is `gram_matrix(dataset)` where it is known already."""
        from scipy.linalg import lapack

        counted = gram_matrix(dataset) if gram is None else gram
        work = counted.astype(np.float64, order="F")
        np.fill_diagonal(work, work.diagonal() + l2)
        factor, info = lapack.dpotrf(work, lower=1, overwrite_a=1)
        if info == 0:
            inverse, info = lapack.dpotri(factor, lower=1, overwrite_c=1)
        if info:
            raise RetrievalError(f"EASE: the Gram matrix can't be inverted with l2 = {l2:g}; raise it")
        # Only the lower half was written. Columns by their diagonal, B = I - P diag(1 / diag P).
        weights = np.zeros((len(counted) + 1, len(counted) + 1), np.float32)
        diagonal = inverse.diagonal().copy()
        for row in range(len(counted)):
            full = np.concatenate([inverse[row, : row + 1], inverse[row + 1 :, row]])
            weights[row + 1, 1:] = -full / diagonal
        np.fill_diagonal(weights, 0.0)
        return cls(weights, decay)

    def with_decay(self, decay: float) -> EASE:
        """The same weights, read with another weight of older items."""
        return EASE(self._weights, decay)

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self._weights) - 1

    @property
    def weights(self) -> NDArray[np.float32]:
        """(n_items + 1, n_items + 1), row = item of the history."""
        return self._weights

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Weighted sums, (B, n_items + 1); column 0 is -inf."""
        check_histories(histories, self.n_items)
        check_preferences(preferences, len(histories))
        recent = recency_matrix(histories, self.n_items, self._decay)
        scores: NDArray[np.float32] = np.asarray(recent @ self._weights, dtype=np.float32)
        scores[:, 0] = -np.inf
        return scores

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        from safetensors.numpy import save_file

        save_file({"weights": self._weights}, str(file), metadata={"decay": repr(self._decay)})

    @classmethod
    def load(cls, file: Path, n_items: int) -> EASE:
        """Read what `save` wrote; raises RetrievalError for a broken file or another catalogue."""
        tensors, facts = read_tensors(file, n_items, "weights")
        return cls(tensors["weights"], float(facts["decay"]))


def gram_matrix(dataset: Dataset) -> NDArray[np.float32]:
    """Users of the fit part who had both items, (n_items, n_items)."""
    seen = seen_matrix(dataset)[:, 1:]
    counted: NDArray[np.float32] = (seen.T @ seen).toarray()
    return counted


def ease_gigabytes(n_items: int) -> float:
    """Memory that a fit needs at its peak, in GB."""
    return _BYTES * n_items**2 / 1e9
