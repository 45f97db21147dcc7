"""How good a TRM is: beside its baselines, and with true, wrong and meaningless preferences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset, TargetPart
from deeprec.errors import RetrievalError
from deeprec.metrics import ndcg, recall
from deeprec.trm.base import Retriever
from deeprec.trm.baselines import ItemKNN, Popularity
from deeprec.trm.phrases import item_phrases, join_phrases
from deeprec.trm.ranking import target_ranks
from deeprec.types import Example

MEANINGLESS = "qwxzv plorfig; zzkrub"  # words that no catalogue uses


@dataclass(frozen=True)
class Quality:
    """One method on one part; ranks are over the whole catalogue, seen items excluded."""

    method: str
    ndcg_at_10: float
    recall_at_10: float
    recall_at_20: float
    median_rank: float


def compare(trm: Retriever, dataset: Dataset, part: TargetPart, seed: int = 0) -> list[Quality]:
    """Popularity, item-kNN and the TRM: plain, and with each kind of preference.

    `trm + true phrase` is told one or two phrases of the target (an oracle: it bounds what a
    preference can do), `trm + wrong phrase` those of a random other target of the part.
    """
    examples = dataset.examples(part)
    if not examples:
        raise RetrievalError(
            f"data set '{dataset.name}': no examples in part '{part}'; prepare it with more data"
        )
    rng = np.random.default_rng(seed)
    targets = [example.target for example in examples]
    true = draw_preferences(dataset, targets, rng)
    wrong = draw_preferences(dataset, [targets[row] for row in rng.permutation(len(targets))], rng)
    asked: list[tuple[str, Retriever, list[str] | None]] = [
        ("popularity", Popularity.fit(dataset), None),
        ("item-knn", ItemKNN.fit(dataset), None),
        ("trm", trm, None),
        ("trm + true phrase", trm, true),
        ("trm + wrong phrase", trm, wrong),
        ("trm + unknown words", trm, [MEANINGLESS] * len(examples)),
    ]
    return [
        _quality(name, target_ranks(retriever, examples, preferences, dataset=dataset))
        for name, retriever, preferences in asked
    ]


def steering_overlap(
    trm: Retriever, dataset: Dataset, examples: Sequence[Example], k: int = 20, seed: int = 0
) -> float:
    """Mean share of the top k that two different preferences have in common for one user.

    The two are single phrases of two random catalogue items; 1 means that text is ignored.
    """
    rng = np.random.default_rng(seed)
    phrases = sorted({phrase for item in dataset.catalog.items for phrase in item_phrases(item)})
    if len(phrases) < 2:
        raise RetrievalError(f"data set '{dataset.name}': items have no two different phrases to compare")
    drawn = [rng.choice(len(phrases), 2, replace=False) for _ in examples]
    histories = [example.history for example in examples]
    exclude = [dataset.exclusions(example) for example in examples]
    first, second = (
        trm.retrieve(histories, [phrases[pair[side]] for pair in drawn], k, exclude).item_indices
        for side in (0, 1)
    )
    return float(
        np.mean([len(set(a) & set(b)) / k for a, b in zip(first.tolist(), second.tolist(), strict=True)])
    )


def pool_recall(
    trm: Retriever,
    dataset: Dataset,
    examples: Sequence[Example],
    turns: Sequence[Sequence[str | None]],
    k: int = 20,
) -> float:
    """Share of targets within the union of one retrieval of `k` a turn, items of earlier turns left out.

    `turns` holds for each turn one preference per example, None for none.
    """
    histories = [example.history for example in examples]
    known = [set(dataset.exclusions(example)) for example in examples]
    hits = np.zeros(len(examples), dtype=np.bool_)
    for preferences in turns:
        found = trm.retrieve(
            histories, preferences, k, [sorted(items) for items in known]
        ).item_indices.tolist()
        for row, items in enumerate(found):
            hits[row] |= examples[row].target in items
            known[row].update(items)
    return float(hits.mean())


def draw_preferences(dataset: Dataset, items: Sequence[int], rng: np.random.Generator) -> list[str]:
    """One or two phrases of each item, as a preference; empty for an item without phrases."""
    drawn = []
    for item in items:
        phrases = item_phrases(dataset.catalog[item])
        count = min(len(phrases), int(rng.integers(1, 3)))
        drawn.append(
            join_phrases([phrases[place] for place in sorted(rng.permutation(len(phrases))[:count])])
        )
    return drawn


def _quality(method: str, ranks: NDArray[np.int64]) -> Quality:
    return Quality(
        method=method,
        ndcg_at_10=float(ndcg(ranks, 10).mean()),
        recall_at_10=float(recall(ranks, 10).mean()),
        recall_at_20=float(recall(ranks, 20).mean()),
        median_rank=float(np.median(ranks)),
    )
