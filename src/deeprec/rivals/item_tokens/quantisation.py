"""Semantic ids: item vectors as codes of residual quantisation (TIGER, arXiv 2305.05065, section 3.1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from deeprec.errors import ConfigError
from deeprec.rivals.item_tokens.kmeans import Floats, Ints, residual_kmeans
from deeprec.settings.rivals import ItemTokensConfig


def semantic_ids(vectors: Floats, config: ItemTokensConfig, seed: int) -> tuple[Ints, dict[str, Any]]:
    """Unique codes (n_items + 1, L + 1) of item vectors (n_items + 1, D), and facts about them.

    The last code tells items apart whose others agree; it counts them in the order of the
    catalogue. Items without text have a zero vector, are quantised like any other, and so
    come together. Raises ConfigError for a codebook larger than the catalogue.
    """
    rows = vectors[1:]
    size = codebook_size(len(rows), config.codebook)
    if config.quantiser == "rq-vae":
        # It loads torch, which k-means does without.
        from deeprec.rivals.item_tokens.rqvae import fit_rqvae

        found = fit_rqvae(rows, config.levels, size, seed)
    else:
        found = residual_kmeans(rows, config.levels, size, seed)
    last = tell_apart(found.codes)
    codes = np.zeros((len(vectors), config.levels + 1), dtype=np.int64)
    codes[1:] = np.column_stack([found.codes, last])
    facts = {
        "codebook": size,
        "collisions": int((last > 0).sum()),
        "largest_collision": int(last.max()) + 1,
        "codes_used": [len(np.unique(column)) for column in found.codes.T],
        "quantisation_errors": [round(error, 5) for error in found.errors],
    }
    return codes, facts


def codebook_size(n_items: int, wanted: int | None) -> int:
    """Codes of a level. By itself the power of two nearest to 2 sqrt(n): TIGER's 256 for its 12,000 to 18,000 items.

    >>> [codebook_size(n, None) for n in (30, 500, 3416, 12_101)]
    [8, 32, 128, 256]
    """
    if wanted is None:
        return int(2 ** round(np.log2(2 * np.sqrt(n_items))))
    if wanted > n_items:
        raise ConfigError(
            f"rivals.item_tokens.codebook = {wanted}: the catalogue holds {n_items} items; "
            "lower it, or leave it out to have it chosen"
        )
    return wanted


def tell_apart(codes: Ints) -> Ints:
    """A last code (N,): the place of each row among equal ones, 0 where it is alone.

    >>> tell_apart(np.array([[1, 2], [0, 0], [1, 2]])).tolist()
    [0, 0, 1]
    """
    _, group = np.unique(codes, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    last = np.empty(len(codes), dtype=np.int64)
    last[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return last
