"""What a catalogue says of its items, as vectors that the titles of a tiny policy start from."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from deeprec.data.catalog import Catalog

TEXT_SHARE = 0.25  # weight of an item's text vector beside its categories and its year, which weigh 1 each
YEARS_APART = 5.0  # years between the places that a year is told by, and how far each of them reaches
MOST_CATEGORIES = 1000  # the commonest; the others are in the text

Floats = NDArray[np.float64]


def fact_vectors(catalog: Catalog, texts: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Vectors (n_items + 1, at most `width`) whose inner products say how alike items are, row 0 zero.

    Three parts side by side, each of unit length where there is something to say: categories, the year (near
    years are alike, which no word tells), and the text vectors (n_items + 1, D). Then the main directions.
    """
    years = np.array([0, *(item.year or 0 for item in catalog.items)], dtype=np.float64)
    parts = [_unit(_categories(catalog)), _unit(_years(years)), TEXT_SHARE * _unit(texts.astype(np.float64))]
    whole = _unit(np.concatenate(parts, axis=1))
    if whole.shape[1] > width:
        _, directions = np.linalg.eigh(whole.T @ whole)  # ascending
        whole = whole @ directions[:, ::-1][:, :width]
    return whole.astype(np.float32)


def _categories(catalog: Catalog) -> Floats:
    """1 where an item has a category (n_items + 1, C)."""
    counts = Counter(name for item in catalog.items for name in dict.fromkeys(item.categories))
    column = {name: place for place, (name, _) in enumerate(counts.most_common(MOST_CATEGORIES))}
    found = np.zeros((catalog.n_items + 1, len(column)))
    for item in catalog.items:
        found[item.item_index, [column[name] for name in item.categories if name in column]] = 1.0
    return found


def _years(years: Floats) -> Floats:
    """A bump (n_items + 1, Y) around each year, so that the inner product of two falls with what lies between."""
    known = years[years > 0]
    if not len(known):
        return np.zeros((len(years), 0))
    places = np.arange(known.min(), known.max() + 1, YEARS_APART)
    bumps = np.exp(-0.5 * np.square((years[:, None] - places) / YEARS_APART))
    bumps[years <= 0] = 0.0
    return np.asarray(bumps, dtype=np.float64)


def _unit(rows: Floats) -> Floats:
    """Rows of unit length; zero rows stay zero."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), dtype=np.float64)
