"""Residual k-means: vectors as codes, coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Quantised:
    """Codes of N vectors at each of L levels, coarse to fine."""

    codes: Ints  # (N, L)
    codebooks: tuple[Floats, ...]  # (K, D) each
    errors: tuple[float, ...]  # mean squared length of what is left after 0 .. L levels


def residual_kmeans(vectors: Floats, levels: int, size: int, seed: int) -> Quantised:
    """k-means on the vectors (N, D), then on what it leaves of them, level by level.

    A level has fewer than `size` codes where fewer different residuals are left.
    """
    from sklearn.cluster import KMeans

    left = vectors.astype(np.float64)
    codes, codebooks, errors = [], [], [_mean_square(left)]
    for level in range(levels):
        points, inverse, counts = np.unique(left.round(9), axis=0, return_inverse=True, return_counts=True)
        clusters = KMeans(min(size, len(points)), n_init=4, random_state=seed + level)
        label = clusters.fit_predict(points, sample_weight=counts.astype(np.float64))[inverse]
        left = left - clusters.cluster_centers_[label]
        codes.append(label.astype(np.int64))
        codebooks.append(clusters.cluster_centers_.astype(np.float32))
        errors.append(_mean_square(left))
    return Quantised(np.column_stack(codes), tuple(codebooks), tuple(errors))


def _mean_square(left: NDArray[np.float64]) -> float:
    return float((left**2).sum(axis=1).mean())
