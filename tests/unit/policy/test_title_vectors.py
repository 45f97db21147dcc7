"""What titles start from: alike is what shares categories, years and words."""

from __future__ import annotations

import numpy as np

from deeprec.data.catalog import Catalog
from deeprec.policy.title_vectors import TEXT_SHARE, fact_vectors
from deeprec.types import Item

ITEMS = (
    Item(1, "a", "Dawn", "Dawn", ("Drama",), 1990),
    Item(2, "b", "Dusk", "Dusk", ("Drama",), 1991),
    Item(3, "c", "Noon", "Noon", ("Drama",), 2015),
    Item(4, "d", "Night", "Night", ("Comedy",), 1990),
    Item(5, "e", "Eve", "Eve", (), None),
)
TEXTS = np.eye(6, 7, dtype=np.float32)
TEXTS[0] = 0


def alike(width: int = 64) -> np.ndarray:
    found = fact_vectors(Catalog(ITEMS), TEXTS, width).astype(np.float64)
    assert not found[0].any()
    return found @ found.T


def test_near_years_and_shared_categories_are_alike() -> None:
    products = alike()
    assert np.allclose(np.diag(products)[1:], 1.0)
    assert products[1, 2] > 0.9  # a year apart
    assert products[1, 2] > products[1, 3] > 0.3  # the category alone
    assert products[1, 4] > 0.3  # the year alone
    assert abs(products[5, :5]).max() < 1e-6  # of it nothing is known but its text, which is nobody else's
    both = 1 / (2 + TEXT_SHARE**2)  # share of the squared length that a category has
    assert abs(products[1, 3] - both) < 0.02


def test_the_main_directions_are_kept() -> None:
    whole, cut = alike(), alike(width=4)
    assert np.linalg.matrix_rank(cut) <= 4
    assert np.abs(whole - cut)[1:5, 1:5].max() < 0.25
    assert cut[1, 2] > cut[1, 3]


def test_a_catalogue_of_titles_alone_has_its_texts() -> None:
    bare = Catalog(tuple(Item(n, f"i{n}", f"Title {n}", f"Title {n}") for n in (1, 2)))
    texts = np.array([[0, 0], [1, 0], [0.6, 0.8]], dtype=np.float32)
    found = fact_vectors(bare, texts, 8)
    assert np.allclose(found[1] @ found[2], 0.6)
