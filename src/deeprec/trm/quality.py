"""How good a TRM is: beside its baselines, with every kind of preference, and as a pool to explore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset, TargetPart
from deeprec.errors import RetrievalError
from deeprec.methods import ITEM_KNN, POPULARITY, TRM
from deeprec.metrics import ndcg, recall
from deeprec.trm.base import Retriever
from deeprec.trm.baselines import ItemKNN, Popularity
from deeprec.trm.left import retrieve_left
from deeprec.trm.phrases import item_phrases, join_phrases
from deeprec.trm.ranking import catalogue_ranks
from deeprec.types import Example

MEANINGLESS = "qwxzv plorfig; zzkrub"  # words that no catalogue uses
SMALL_TALK = (  # says nothing about any item
    "something I would enjoy",
    "please recommend what to try next",
    "I am not sure; anything is fine",
    "whatever you think is best for me",
    "a nice choice for tonight",
)


@dataclass(frozen=True)
class Quality:
    """One method on one part; ranks are over the whole catalogue, seen items excluded."""

    method: str
    ndcg_at_10: float
    recall_at_10: float
    recall_at_20: float
    median_rank: float


@dataclass(frozen=True)
class Steering:
    """How different and how fitting the lists for different phrases are, over all users.

    `overlap` is the share that the top k for two different phrases have in common (1: text is
    ignored); `fit` the share of the top k that bears the phrase asked for, `fit_plain` that
    of the plain top k for the same phrases.
    """

    overlap: float
    fit: float
    fit_plain: float


@dataclass(frozen=True)
class Pool:
    """Recall of the union of `turns` retrievals of `k`, each without what came before.

    `plain` asks nothing, which is the plain top turns x k. `oracle` asks each time for other
    phrases of the target, `plain_then_oracle` begins with a plain turn, `from_history` asks for
    phrases of random items of the history, `random` for those of random catalogue items.
    """

    turns: int
    k: int
    plain: float
    oracle: float
    plain_then_oracle: float
    from_history: float
    random: float


def compare(trm: Retriever, dataset: Dataset, part: TargetPart, seed: int = 0) -> list[Quality]:
    """Popularity, item-kNN and the TRM: plain, and with each kind of preference.

    A true phrase is one phrase of the target (an oracle: it bounds what a preference can do),
    a wrong one that of a random other target of the part.
    """
    examples = examples_of(dataset, part)
    baselines = [
        quality(name, catalogue_ranks(retriever, examples, dataset=dataset))
        for name, retriever in ((POPULARITY, Popularity.fit(dataset)), (ITEM_KNN, ItemKNN.fit(dataset)))
    ]
    asked = preference_kinds(dataset, examples, seed)
    return baselines + [
        quality(
            f"{TRM} + {kind}" if kind else TRM, catalogue_ranks(trm, examples, preferences, dataset=dataset)
        )
        for kind, preferences in asked.items()
    ]


def preference_kinds(
    dataset: Dataset, examples: Sequence[Example], seed: int = 0
) -> dict[str, list[str] | None]:
    """One preference per example of each kind; the kind "" is none."""
    rng = np.random.default_rng(seed)
    targets = [example.target for example in examples]
    one = draw_preferences(dataset, targets, rng, most=1)
    two = draw_preferences(dataset, targets, rng, least=2, most=2)
    other = [targets[row] for row in rng.permutation(len(targets))]
    return {
        "": None,
        "unknown words": [MEANINGLESS] * len(examples),
        "small talk": [SMALL_TALK[row % len(SMALL_TALK)] for row in range(len(examples))],
        "wrong phrase": draw_preferences(dataset, other, rng, most=1),
        "true phrase": one,
        "two true phrases": two,
    }


def steering(
    trm: Retriever, dataset: Dataset, examples: Sequence[Example], k: int = 20, seed: int = 0
) -> Steering:
    """Lists for two different single phrases of two random catalogue items each."""
    rng = np.random.default_rng(seed)
    phrases = sorted({phrase for item in dataset.catalog.items for phrase in item_phrases(item)})
    if len(phrases) < 2:
        raise RetrievalError(f"data set '{dataset.name}': items have no two different phrases to compare")
    # Of the catalogue, not of the user: the same pair for everybody would measure that pair.
    drawn = [rng.choice(len(phrases), 2, replace=False) for _ in examples]
    histories = [example.history for example in examples]
    exclude = [dataset.exclusions(example) for example in examples]
    asked = [[phrases[pair[side]] for pair in drawn] for side in (0, 1)]
    first, second, plain = (
        [one.items for one in retrieve_left(trm, histories, wanted, k, exclude)] for wanted in (*asked, None)
    )
    shared = [len(set(a) & set(b)) / max(len(a), 1) for a, b in zip(first, second, strict=True)]
    return Steering(float(np.mean(shared)), _fit(dataset, first, asked[0]), _fit(dataset, plain, asked[0]))


def pool_table(
    trm: Retriever, dataset: Dataset, examples: Sequence[Example], k: int = 20, seed: int = 0
) -> list[Pool]:
    """What 1, 2, 3 and 4 retrievals can find; see Pool. Needs examples with a history."""
    rng = np.random.default_rng(seed)
    most = 4
    oracle = _distinct_phrases(dataset, [example.target for example in examples], most, rng)
    anywhere = [rng.integers(1, dataset.catalog.n_items + 1, len(examples)).tolist() for _ in range(most)]
    before = [[int(rng.choice(example.history)) for example in examples] for _ in range(most)]
    none: list[str | None] = [None] * len(examples)
    asked: dict[str, list[Sequence[str | None]]] = {
        "plain": [none] * most,
        "oracle": list(oracle),
        "plain_then_oracle": [none, *oracle[: most - 1]],
        "from_history": [draw_preferences(dataset, items, rng) for items in before],
        "random": [draw_preferences(dataset, items, rng) for items in anywhere],
    }
    found = {name: pool_recalls(trm, dataset, examples, turns, k) for name, turns in asked.items()}
    return [
        Pool(turn, k, **{name: values[turn - 1] for name, values in found.items()})
        for turn in range(1, most + 1)
    ]


def pool_recalls(
    trm: Retriever,
    dataset: Dataset,
    examples: Sequence[Example],
    turns: Sequence[Sequence[str | None]],
    k: int = 20,
) -> list[float]:
    """Share of targets within the union of the first 1, 2, ... retrievals of `k`, earlier items left out.

    `turns` holds for each turn one preference per example, None for none. A turn gives
    a user fewer than `k` where the catalogue has no more left.
    """
    histories = [example.history for example in examples]
    known = [set(dataset.exclusions(example)) for example in examples]
    hits = np.zeros(len(examples), dtype=np.bool_)
    recalls = []
    for preferences in turns:
        # As in a rollout that asks for new items only: a second turn must not be paid for what the first found.
        exclude = [sorted(items) for items in known]
        for row, found in enumerate(retrieve_left(trm, histories, preferences, k, exclude)):
            hits[row] |= examples[row].target in found.items
            known[row].update(found.items)
        recalls.append(float(hits.mean()))
    return recalls


def draw_preferences(
    dataset: Dataset, items: Sequence[int], rng: np.random.Generator, least: int = 1, most: int = 2
) -> list[str]:
    """`least` to `most` phrases of each item, as a preference; fewer, or none, where it has no more."""
    drawn = []
    for item in items:
        phrases = item_phrases(dataset.catalog[item])
        count = min(len(phrases), int(rng.integers(least, most + 1)))
        picked = sorted(rng.permutation(len(phrases))[:count])
        drawn.append(join_phrases([phrases[place] for place in picked]))
    return drawn


def examples_of(dataset: Dataset, part: TargetPart) -> list[Example]:
    """The examples of a part; raises RetrievalError where there are none."""
    examples = dataset.examples(part)
    if not examples:
        raise RetrievalError(
            f"data set '{dataset.name}': no examples in part '{part}'; prepare it with more data"
        )
    return examples


def quality(method: str, ranks: NDArray[np.int64]) -> Quality:
    """The figures of one method's ranks (U,)."""
    return Quality(
        method=method,
        ndcg_at_10=float(ndcg(ranks, 10).mean()),
        recall_at_10=float(recall(ranks, 10).mean()),
        recall_at_20=float(recall(ranks, 20).mean()),
        median_rank=float(np.median(ranks)),
    )


def _fit(dataset: Dataset, lists: Sequence[Sequence[int]], asked: Sequence[str]) -> float:
    bears = [
        np.mean([phrase in item_phrases(dataset.catalog[item]) for item in items])
        for items, phrase in zip(lists, asked, strict=True)
        if items  # who knows the whole catalogue gets none
    ]
    return float(np.mean(bears)) if bears else 0.0


def _distinct_phrases(
    dataset: Dataset, items: Sequence[int], turns: int, rng: np.random.Generator
) -> list[list[str | None]]:
    """For each turn one phrase per item, no phrase of an item twice; None when it has no more."""
    shuffled = []
    for item in items:
        phrases = item_phrases(dataset.catalog[item])
        shuffled.append([phrases[place] for place in rng.permutation(len(phrases))])
    return [[row[turn] if turn < len(row) else None for row in shuffled] for turn in range(turns)]
