"""Rivals that read no text: item-kNN, EASE, ALS and BPR, each tuned on validation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from deeprec import methods
from deeprec.data.dataset import Dataset
from deeprec.errors import EvaluationError
from deeprec.inputs import constants_of
from deeprec.recommender import Recommender
from deeprec.rivals import factors, tuning
from deeprec.rivals.registry import Rival
from deeprec.rivals.tuning import Settings, choose, tuning_examples
from deeprec.run import Run
from deeprec.settings.rivals import PlainConfig
from deeprec.trm import linear
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.baselines import ItemKNN
from deeprec.trm.recommender import TRMRecommender

_FILE = "model.safetensors"
ALS_ITERATIONS = 15  # passes over users and items
BPR_ITERATIONS = 50  # passes over the data
# What als and bpr are tuned over; the same for every data set, as their iterations are.
ALS_FACTORS = (64, 128)
ALS_REGULARIZATIONS = (1.0, 10.0)
ALS_ALPHAS = (1.0, 10.0, 40.0, 100.0)  # confidence in what a user had is 1 + this
BPR_FACTORS = (64,)
BPR_LEARNING_RATES = (0.02, 0.05)
BPR_REGULARIZATIONS = (0.001, 0.01)
_WHOLE = 10**9  # latest items of a history that item-kNN reads: all, since older ones fade by `decays`

Model = ItemKNN | linear.EASE | factors.ALS | factors.BPR
Candidates = Callable[[Dataset, PlainConfig, int], Iterator[tuple[Settings, Model]]]


def _knn(dataset: Dataset, config: PlainConfig, seed: int) -> Iterator[tuple[Settings, Model]]:
    for neighbours in config.knn_neighbours:
        for shrink in config.knn_shrink:
            fitted = ItemKNN.fit(dataset, neighbours, shrink, _WHOLE)
            for decay in config.decays:
                yield {"neighbours": neighbours, "shrink": shrink, "decay": decay}, fitted.with_decay(decay)


def _check_memory(dataset: Dataset, config: PlainConfig) -> None:
    """Raise EvaluationError where EASE needs more memory than the settings allow."""
    n_items = dataset.catalog.n_items
    needed = linear.ease_gigabytes(n_items)
    if needed > config.ease_memory_gb:
        raise EvaluationError(
            f"rival '{methods.EASE}': a catalogue of {n_items} items needs {needed:.2g} GB, "
            f"rivals.plain.ease_memory_gb = {config.ease_memory_gb:g}; raise it where there is as much memory, "
            "leave out rare items (data.min_item_interactions), or fit "
            f"{methods.ITEM_KNN} or {methods.ALS} in its place"
        )


def _ease(dataset: Dataset, config: PlainConfig, seed: int) -> Iterator[tuple[Settings, Model]]:
    gram = linear.gram_matrix(dataset)
    for l2 in config.ease_l2:
        fitted = linear.EASE.fit(dataset, l2, gram=gram)
        for decay in config.decays:
            yield {"l2": l2, "decay": decay}, fitted.with_decay(decay)


def _als(dataset: Dataset, config: PlainConfig, seed: int) -> Iterator[tuple[Settings, Model]]:
    for size, regularization, alpha in product(ALS_FACTORS, ALS_REGULARIZATIONS, ALS_ALPHAS):
        fitted = factors.ALS.fit(dataset, size, regularization, alpha, ALS_ITERATIONS, seed)
        common = {"factors": size, "regularization": regularization, "alpha": alpha}
        for decay in config.decays:
            yield {**common, "decay": decay}, fitted.with_decay(decay)


def _bpr(dataset: Dataset, config: PlainConfig, seed: int) -> Iterator[tuple[Settings, Model]]:
    for size, rate, regularization in product(BPR_FACTORS, BPR_LEARNING_RATES, BPR_REGULARIZATIONS):
        fitted = factors.BPR.fit(dataset, size, rate, regularization, BPR_ITERATIONS, seed)
        yield {"factors": size, "learning_rate": rate, "regularization": regularization}, fitted


def _check_extra(dataset: Dataset, config: PlainConfig) -> None:
    factors.check_extra()


def _rival(
    name: str,
    summary: str,
    candidates: Candidates,
    load: Callable[[Path, Dataset], Model],
    number: Callable[[PlainConfig], int],
    needs: Callable[[Dataset, PlainConfig], None] = lambda dataset, config: None,
) -> Rival:
    """A rival whose settings are chosen from as many candidates as `number` says; `needs` raises what lacks."""

    def others(run: Run) -> dict[str, Any]:
        return {"constants": constants_of(sys.modules[__name__], tuning)}

    def wrap(dataset: Dataset) -> Callable[[Model], Recommender]:
        def recommender(model: Model) -> Recommender:
            return model if isinstance(model, factors.BPR) else TRMRecommender(model, dataset, name)

        return recommender

    def fit(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> dict[str, Any]:
        plain = run.config.rivals.plain
        choice = choose(
            name,
            candidates(dataset, plain, run.config.seed),
            wrap(dataset),
            tuning_examples(dataset, tuning.VALIDATION_USERS),
            number(plain),
        )
        choice.model.save(folder / _FILE)
        return choice.facts()

    def load_recommender(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> Recommender:
        return wrap(dataset)(load(folder / _FILE, dataset))

    def check(run: Run, dataset: Dataset, trm: ExplorableRetriever) -> None:
        needs(dataset, run.config.rivals.plain)
        tuning_examples(dataset, 1)

    return Rival(summary, others, fit, load_recommender, check=check)


ITEM_KNN = _rival(
    methods.ITEM_KNN,
    "items that share users with the latest ones (shrunk cosine)",
    _knn,
    lambda file, dataset: ItemKNN.load(file, dataset.catalog.n_items),
    lambda plain: len(plain.knn_neighbours) * len(plain.knn_shrink) * len(plain.decays),
)
EASE = replace(
    _rival(
        methods.EASE,
        "linear item-to-item weights in closed form",
        _ease,
        lambda file, dataset: linear.EASE.load(file, dataset.catalog.n_items),
        lambda plain: len(plain.ease_l2) * len(plain.decays),
        _check_memory,
    ),
    space=lambda run, dataset: 4 * (dataset.catalog.n_items + 1) ** 2,
)
ALS = _rival(
    methods.ALS,
    "matrix factorisation by alternating least squares (implicit)",
    _als,
    lambda file, dataset: factors.ALS.load(file, dataset.catalog.n_items),
    lambda plain: len(ALS_FACTORS) * len(ALS_REGULARIZATIONS) * len(ALS_ALPHAS) * len(plain.decays),
    _check_extra,
)
BPR = _rival(
    methods.BPR,
    "matrix factorisation by pairwise ranking (implicit)",
    _bpr,
    lambda file, dataset: factors.BPR.load(file, dataset),
    lambda plain: len(BPR_FACTORS) * len(BPR_LEARNING_RATES) * len(BPR_REGULARIZATIONS),
    _check_extra,
)
