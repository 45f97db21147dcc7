"""Made-up data of realistic size: what a speed depends on, and nothing else."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deeprec.data.catalog import Catalog, build_labels
from deeprec.data.dataset import Dataset
from deeprec.data.world import build_world
from deeprec.types import Item

_GENRES = 12
_FEWEST, _MEDIAN, _MOST = 20, 96, 2300  # interactions of a user, as in MovieLens 1M
_SPREAD = 1.0  # of their logarithm
_NOISE = 1.0  # length of what sets an item apart from its centre, which has length 1


def made_up_dataset(users: int, items: int, seed: int) -> Dataset:
    """Users whose histories are as long as MovieLens 1M's, over items as unequally popular.

    Choices are independent, so there is nothing to learn; the time of a step is the same.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(np.log(_MEDIAN), _SPREAD, users).astype(np.int64).clip(_FEWEST, _MOST)
    weights = 1 / (np.arange(items) + 10)
    chosen = rng.choice(items, lengths.sum(), p=weights / weights.sum()) + 1
    places = rng.permutation(len(chosen))[:items]
    chosen[places] = np.arange(1, len(places) + 1)  # each item occurs
    names = [f"u{number + 1}" for number in range(users)]
    place = np.concatenate([np.arange(length) for length in lengths])
    left = np.repeat(lengths, lengths) - place
    interactions = pl.DataFrame(
        {
            "user_id": np.repeat(names, lengths),
            "item_index": chosen.astype(np.int32),
            "timestamp": place.astype(np.float64),
            "rating": pl.Series([None] * len(chosen), dtype=pl.Float32),
            "part": np.select([left == 1, left == 2], ["test", "validation"], "fit"),
        }
    )
    everyone = pl.DataFrame({"user_id": names})
    return Dataset("made-up", _catalog(items, rng), interactions, everyone, allow_repeats=True)


def _catalog(items: int, rng: np.random.Generator) -> Catalog:
    world = build_world(items, _GENRES, rng)
    ids = [f"i{number + 1}" for number in range(items)]
    years = [int(year) for year in world.years]
    labels = build_labels(world.titles, ids, years)
    rows = zip(ids, world.titles, labels, world.genres, years, strict=True)
    return Catalog(tuple(Item(place, *row) for place, row in enumerate(rows, 1)))


def clustered_vectors(items: int, width: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors (items + 1, width), half centre and half noise, sqrt(items) centres; row 0 is zero."""
    rng = np.random.default_rng(seed)
    centres = _unit(rng.standard_normal((round(items**0.5), width), dtype=np.float32))
    noise = rng.standard_normal((items, width), dtype=np.float32) * np.float32(_NOISE * width**-0.5)
    vectors = np.zeros((items + 1, width), dtype=np.float32)
    vectors[1:] = _unit(centres[rng.integers(0, len(centres), items)] + noise)
    return vectors


def queries_near(vectors: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """Unit queries (count, width), each as far from a random item as items are from their centre."""
    rng = np.random.default_rng(seed)
    width = vectors.shape[1]
    noise = rng.standard_normal((count, width), dtype=np.float32) * np.float32(_NOISE * width**-0.5)
    return _unit(vectors[rng.integers(1, len(vectors), count)] + noise)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
