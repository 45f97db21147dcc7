"""Paired permutation tests over users, and their correction for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.errors import EvaluationError

_EXACT_USERS = 12  # so few users have at most 4,096 sign patterns: all of them are counted
_CHUNK_CELLS = 4_000_000  # signs held in memory at once
_SLACK = 1e-9  # equal sums that rounding has parted count as equal, as scipy does


def sign_flip_p_values(differences: NDArray[np.float64], permutations: int, seed: int) -> NDArray[np.float64]:
    """Two-sided p-values (D,) of paired differences (U, D) between two methods on the same users.

    Under the null hypothesis the methods are exchangeable for each user, so each difference may
    take either sign. The p-value is the share of sign patterns whose mean is as far from 0 as the
    observed one, which counts as one of them: (1 + hits) / (1 + permutations), never 0
    (Phipson and Smyth 2010). All columns share the patterns. For 12 users or fewer every pattern is
    counted instead, and the p-value is exact.

    >>> sign_flip_p_values(np.array([[1.0], [1.0], [1.0], [0.0]]), 100, seed=0).tolist()
    [0.25]
    """
    users = differences.shape[0]
    if users == 0:
        raise EvaluationError("no users to test on; the evaluated part is empty")
    # As numerators: the mean divides all of them by the same number of users.
    observed = np.abs(differences.sum(axis=0))
    bound = observed - _SLACK * np.maximum(observed, 1.0)
    if users <= _EXACT_USERS:
        patterns = np.arange(2**users)[:, None] >> np.arange(users) & 1
        sums = np.abs((1.0 - 2.0 * patterns) @ differences)
        return np.asarray((sums >= bound).mean(axis=0), dtype=np.float64)
    generator = np.random.default_rng(seed)
    hits = np.zeros(differences.shape[1], dtype=np.int64)
    chunk = max(1, _CHUNK_CELLS // users)
    total = differences.sum(axis=0)
    for start in range(0, permutations, chunk):
        size = min(chunk, permutations - start)
        # One byte holds the signs of eight users; the sum over the flipped is all that is needed.
        drawn = generator.integers(0, 256, size=(size, (users + 7) // 8), dtype=np.uint8)
        flipped = np.unpackbits(drawn, axis=1, count=users).astype(np.float64) @ differences
        hits += (np.abs(total - 2.0 * flipped) >= bound).sum(axis=0)
    return np.asarray((1.0 + hits) / (1.0 + permutations), dtype=np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979).

    Of m values sorted upwards, the j-th becomes the largest of min(1, (m - i + 1) p_i) over i <= j.
    The chance that any true null hypothesis of the family is rejected at a level stays below that
    level, however the tests depend on each other.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
