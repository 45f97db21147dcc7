"""Texts of all items as vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeprec.data.catalog import Catalog
from deeprec.trm.bank import phrase_features
from deeprec.trm.text import CachedEncoder, item_text


@dataclass(frozen=True)
class ItemTexts:
    """Text of the items as vectors, (n_items + 1, D) each, row 0 zero."""

    whole: NDArray[np.float32]  # title, categories and time as one text; unit rows
    features: NDArray[np.float32]  # title and phrases, each alone, summed


def catalog_texts(encoder: CachedEncoder, catalog: Catalog) -> ItemTexts:
    """Both kinds of text vectors of all items."""
    return ItemTexts(catalog_text_vectors(encoder, catalog), phrase_features(catalog, encoder))


def catalog_text_vectors(encoder: CachedEncoder, catalog: Catalog) -> NDArray[np.float32]:
    """Text embeddings (n_items + 1, D_text) of all items, row 0 zero."""
    vectors = encoder.encode([item_text(item) for item in catalog.items])
    return np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors])
