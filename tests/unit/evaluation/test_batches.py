"""What a user gets does not depend on who else is evaluated, or in which order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from deeprec import metrics
from deeprec.config import DataConfig, SyntheticConfig, TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.data.prepare import prepare
from deeprec.recommender import Recommender
from deeprec.rivals.asked import Rule, build_asker
from deeprec.rivals.factors import ALS, BPR
from deeprec.trm.base import Histories, Preferences
from deeprec.trm.baselines import ItemKNN, Popularity
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.linear import EASE
from deeprec.trm.ranking import Scored
from deeprec.trm.recommender import TRMRecommender
from deeprec.trm.training import fit
from deeprec.types import Example

SMALL = TRMConfig(width=16, layers=1, text_dim=16, experts=1, history=12, epochs=3, preference_steps=40)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    sizes = SyntheticConfig(users=300, items=120, genres=5, interactions_per_user=14)
    return prepare(DataConfig(synthetic=sizes), 0)


@pytest.fixture(scope="module")
def recommenders(dataset: Dataset) -> dict[str, Recommender]:
    trm = fit(dataset, build_text_encoder(SMALL, dataset.catalog), SMALL, device="cpu")
    return {
        "popularity": TRMRecommender(Popularity.fit(dataset), dataset),
        "trm": TRMRecommender(trm, dataset),
        "trm-dated": TRMRecommender(trm, dataset, dated=True),
        "trm-asked": TRMRecommender(trm, dataset, ask=build_asker(Rule(3, 2, "user", 0.0), dataset)),
        "item-knn": TRMRecommender(ItemKNN.fit(dataset), dataset),
        "ease": TRMRecommender(EASE.fit(dataset, 30.0, 0.8), dataset),
        "als": TRMRecommender(ALS.fit(dataset, 16, 1.0, 10.0, 5, 0, 0.8), dataset),
        "bpr": BPR.fit(dataset, 16, 0.05, 0.01, 20, 0),
    }


def rankings(
    recommender: Recommender, examples: Sequence[Example], size: int, k: int = 10
) -> dict[str, tuple[int, ...]]:
    """By user, asked `size` users at a time."""
    found = {}
    for start in range(0, len(examples), size):
        batch = examples[start : start + size]
        answers = recommender.recommend(batch, k)
        found.update(
            (example.user_id, answer.ranking) for example, answer in zip(batch, answers, strict=True)
        )
    return found


def means(found: dict[str, tuple[int, ...]], examples: Sequence[Example]) -> dict[str, float]:
    columns = metrics.ranking_metrics([found[e.user_id] for e in examples], [e.target for e in examples])
    return metrics.means(columns)


@pytest.mark.parametrize(
    "name", ["popularity", "trm", "trm-dated", "trm-asked", "item-knn", "ease", "als", "bpr"]
)
def test_batches_and_order_change_nothing(
    name: str, recommenders: dict[str, Recommender], dataset: Dataset
) -> None:
    examples, recommender = dataset.examples("test"), recommenders[name]
    usual = rankings(recommender, examples, len(examples))
    for seed, size in enumerate((1, 7, 256)):
        order = np.random.default_rng(seed).permutation(len(examples))
        shuffled = [examples[row] for row in order]
        found = rankings(recommender, shuffled, size)
        assert found == usual
        expected = means(usual, examples)
        assert means(found, shuffled) == pytest.approx(expected, abs=1e-9)


class Rounded(Scored):
    """Scores that differ in their last digits by the shape of the batch, as products of matrices do."""

    n_items = 60

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        # Neighbours are a millionth apart, so that the noise of a batch decides how they are ordered.
        base = 5 + np.arange(self.n_items + 1) // 3 + 1e-6 * (np.arange(self.n_items + 1) % 3)
        noise = np.random.default_rng(len(histories)).uniform(-2e-6, 2e-6, (len(histories), len(base)))
        scores = (base + noise).astype(np.float32)
        scores[:, 0] = -np.inf
        return scores


@pytest.mark.parametrize("k", [4, 10, 35])
def test_near_ties_are_ranked_alone(k: int, dataset: Dataset) -> None:
    examples = [Example(f"u{n}", tuple(range(1, 2 + n % 25))) for n in range(40)]

    def plain(size: int) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for start in range(0, len(examples), size):
            batch = examples[start : start + size]
            exclude = [example.history for example in batch]
            found += map(tuple, Rounded().retrieve(exclude, None, k, exclude).item_indices.tolist())
        return found

    assert plain(7) != plain(40)  # without this the check below would say nothing
    recommender = TRMRecommender(Rounded(), dataset)
    usual = rankings(recommender, examples, 40, k)
    for size in (1, 7):
        assert rankings(recommender, examples, size, k) == usual


def test_how_many_are_asked_for_beyond_k_does_not_matter(dataset: Dataset) -> None:
    """With 35 left for one user, nobody can be asked for a 36th: all are ranked alone, and get the same."""
    recommender = TRMRecommender(Rounded(), dataset)
    some = [Example(f"u{n}", (1, 2)) for n in range(5)]
    full = Example("full", tuple(range(1, 26)))
    together = rankings(recommender, [*some, full], 6, 35)
    apart = rankings(recommender, some, 5, 35)
    assert {user: together[user] for user in apart} == apart
