"""One suite that every Retriever passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from deeprec.config import DataConfig, SyntheticConfig, TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.data.prepare import prepare
from deeprec.errors import RetrievalError
from deeprec.rivals.factors import ALS
from deeprec.trm.base import ExplorableRetriever, Retriever
from deeprec.trm.baselines import ItemKNN, Popularity, item_counts
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.linear import EASE
from deeprec.trm.own import FunctionRetriever
from deeprec.trm.ranking import MAX_PREFERENCE
from deeprec.trm.text import item_text
from deeprec.trm.text_steered import TextSteered
from deeprec.trm.training import fit
from deeprec.trm.vectors import VectorRetriever

SMALL = TRMConfig(
    width=16,
    layers=1,
    text_dim=16,
    experts=1,
    history=12,
    epochs=6,
    tokens_per_batch=104,
    preference_steps=60,
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    sizes = SyntheticConfig(users=60, items=40, genres=5, interactions_per_user=14)
    return prepare(DataConfig(synthetic=sizes), 0)


def _trm(dataset: Dataset, experts: int) -> Retriever:
    config = SMALL.model_copy(update={"experts": experts})
    return fit(dataset, build_text_encoder(config, dataset.catalog), config, device="cpu")


def _vectors(dataset: Dataset, users: bool = False, cold: int = 0) -> Retriever:
    """Drawn vectors; every user of the fit part has one, or none has. The last items may have none."""
    rng = np.random.default_rng(5)
    items = rng.standard_normal((dataset.catalog.n_items + 1, 8)).astype(np.float32)
    items[0] = 0
    items[len(items) - cold :] = 0
    histories = [example.history for example in dataset.fit_histories()] if users else []
    known = {history: rng.standard_normal(8).astype(np.float32) for history in histories}
    return VectorRetriever(items, item_counts(dataset), known)


def _function(dataset: Dataset) -> Retriever:
    """Item-kNN behind a function that knows ids only, and lists no more than 15 items."""
    knn, catalog = ItemKNN.fit(dataset), dataset.catalog

    def ask(
        histories: list[list[str]], preferences: list[str | None], k: int
    ) -> tuple[list[list[str]], list[list[float]]]:
        indices = [[catalog.index_of(item) or 0 for item in items] for items in histories]
        found = knn.retrieve(indices, k=min(k, 15))
        return [[catalog[item].item_id for item in row] for row in found.item_indices.tolist()], (
            found.scores.tolist()
        )

    return FunctionRetriever.fit(ask, dataset)


def _steered(dataset: Dataset, inner: Retriever) -> Retriever:
    return TextSteered(inner, build_text_encoder(SMALL, dataset.catalog), dataset.catalog)


BUILDERS: dict[str, Callable[[Dataset], Retriever]] = {
    "trm": lambda dataset: _trm(dataset, 1),
    "trm-experts": lambda dataset: _trm(dataset, 8),
    "popularity": Popularity.fit,
    "item-knn": ItemKNN.fit,
    "ease": lambda dataset: EASE.fit(dataset, 10.0, 0.8),
    "als": lambda dataset: ALS.fit(dataset, 8, 1.0, 5.0, 3, 0, 0.8),
    "vectors": _vectors,
    "vectors-users": lambda dataset: _vectors(dataset, users=True),
    "vectors-cold": lambda dataset: _vectors(dataset, cold=5),
    "function": _function,
    "popularity-steered": lambda dataset: _steered(dataset, Popularity.fit(dataset)),
    "item-knn-steered": lambda dataset: _steered(dataset, ItemKNN.fit(dataset)),
    "vectors-cold-steered": lambda dataset: _steered(dataset, _vectors(dataset, users=True, cold=5)),
    "function-steered": lambda dataset: _steered(dataset, _function(dataset)),
}


@pytest.fixture(scope="module", params=list(BUILDERS))
def retriever(request: pytest.FixtureRequest, dataset: Dataset) -> Retriever:
    return BUILDERS[request.param](dataset)


def _histories(dataset: Dataset) -> list[tuple[int, ...]]:
    return [example.history for example in dataset.examples("validation")][:20]


def test_is_a_retriever(retriever: Retriever, dataset: Dataset) -> None:
    assert isinstance(retriever, Retriever)
    assert retriever.n_items == dataset.catalog.n_items


def test_same_question_same_answer(retriever: Retriever, dataset: Dataset) -> None:
    histories = _histories(dataset)
    wanted = ["Comedy", None] * 10
    first, second = (retriever.retrieve(histories, wanted, 10) for _ in range(2))
    assert np.array_equal(first.item_indices, second.item_indices)
    assert np.array_equal(first.scores, second.scores)


def test_scores_cover_the_catalogue_and_never_padding(retriever: Retriever, dataset: Dataset) -> None:
    scores = retriever.score(_histories(dataset))
    assert scores.shape == (20, retriever.n_items + 1)
    assert scores.dtype == np.float32
    assert np.isneginf(scores[:, 0]).all()
    assert np.isfinite(scores[:, 1:]).all()
    everything = retriever.retrieve(_histories(dataset), k=retriever.n_items).item_indices
    assert (np.sort(everything, axis=1) == np.arange(1, retriever.n_items + 1)).all()


def test_best_first_and_ties_by_index(retriever: Retriever, dataset: Dataset) -> None:
    found = retriever.retrieve(_histories(dataset), k=retriever.n_items)
    steps = np.diff(found.scores, axis=1)
    assert (steps <= 0).all()
    assert (np.diff(found.item_indices, axis=1)[steps == 0] > 0).all()


def test_retrieve_agrees_with_score(retriever: Retriever, dataset: Dataset) -> None:
    histories = _histories(dataset)
    scores = retriever.score(histories)
    found = retriever.retrieve(histories, k=7)
    assert np.array_equal(found.item_indices, np.argsort(-scores, axis=1, kind="stable")[:, :7])


def test_excluded_items_never_come_back(retriever: Retriever, dataset: Dataset) -> None:
    histories = _histories(dataset)
    plain = retriever.retrieve(histories, k=5).item_indices
    exclude = [row.tolist() for row in plain]
    found = retriever.retrieve(histories, k=5, exclude=exclude).item_indices
    assert not any(set(a) & set(b) for a, b in zip(plain.tolist(), found.tolist(), strict=True))
    both = retriever.retrieve(histories, k=10).item_indices
    assert np.array_equal(np.concatenate([plain, found], axis=1), both)


def test_answers_do_not_depend_on_the_batch(retriever: Retriever, dataset: Dataset) -> None:
    histories = [*_histories(dataset), (), (3,)]
    wanted: list[str | None] = ["Comedy; 1990s", None] * 11
    together = retriever.score(histories, wanted)
    alone = np.concatenate([retriever.score([h], [p]) for h, p in zip(histories, wanted, strict=True)])
    backwards = retriever.score(histories[::-1], wanted[::-1])[::-1]
    np.testing.assert_allclose(alone[:, 1:], together[:, 1:], atol=1e-5)
    np.testing.assert_allclose(backwards[:, 1:], together[:, 1:], atol=1e-5)


def test_empty_history_is_answered_with_something_popular(retriever: Retriever, dataset: Dataset) -> None:
    found = retriever.retrieve([[], ()], [None, " "], k=10)
    assert np.array_equal(found.item_indices[0], found.item_indices[1])
    counts = np.bincount([item for user in dataset.fit_histories() for item in user.history])
    assert counts[found.item_indices[0]].mean() > counts[1:].mean()


def test_blank_preference_is_no_preference(retriever: Retriever, dataset: Dataset) -> None:
    histories = _histories(dataset)
    assert np.array_equal(retriever.score(histories), retriever.score(histories, ["  "] * 20))


def test_no_histories_no_rows(retriever: Retriever) -> None:
    assert retriever.retrieve([], k=3).item_indices.shape == (0, 3)
    assert retriever.score([]).shape == (0, retriever.n_items + 1)


def test_item_vectors_are_unit_or_absent(retriever: Retriever) -> None:
    vectors = retriever.item_vectors()
    if vectors is not None:
        assert len(vectors) == retriever.n_items + 1
        lengths = np.linalg.norm(vectors, axis=1)
        assert lengths[0] == 0
        assert (np.isclose(lengths, 1, atol=1e-5) | (lengths == 0)).all()
        assert lengths[1:].mean() > 0.5


def test_the_last_item_is_reached_by_its_text(retriever: Retriever, dataset: Dataset) -> None:
    """Where there are cold items it is one of them; then nothing but its text can find it."""
    if not isinstance(retriever, ExplorableRetriever):
        pytest.skip("reads no text")
    histories = [*_histories(dataset), ()]
    last = retriever.n_items
    wanted = item_text(dataset.catalog[last])

    def places(preference: str | None) -> np.ndarray:
        found = retriever.retrieve(histories, [preference] * len(histories), k=last).item_indices
        return np.argmax(found == last, axis=1)

    plain, steered = places(None), places(wanted)
    assert (steered <= plain).all()
    assert np.median(steered) < 10


def test_what_rewards_measure_with(retriever: Retriever, dataset: Dataset) -> None:
    if not isinstance(retriever, ExplorableRetriever):
        pytest.skip("reads no text")
    text = retriever.text_vectors()
    assert text.shape == (retriever.n_items + 1, retriever.encoder.dim)
    lengths = np.linalg.norm(text, axis=1)
    np.testing.assert_allclose(lengths, [0] + [1] * retriever.n_items, atol=1e-5)


def test_bad_questions_are_refused(retriever: Retriever) -> None:
    n = retriever.n_items
    with pytest.raises(RetrievalError, match=f"history 1: item index {n + 1} is not between 1 and {n}"):
        retriever.retrieve([[1], [2, n + 1]], k=1)
    with pytest.raises(RetrievalError, match="item index 0 "):
        retriever.score([[0, 1]])
    with pytest.raises(RetrievalError, match="exclusion list 0: item index -1"):
        retriever.retrieve([[1]], k=1, exclude=[[-1]])
    with pytest.raises(RetrievalError, match="k = 0"):
        retriever.retrieve([[1]], k=0)
    with pytest.raises(RetrievalError, match=f"the catalogue holds {n} items"):
        retriever.retrieve([[1]], k=n + 1)
    with pytest.raises(RetrievalError, match=f"only {n - 2} of {n} items are left for history 0"):
        retriever.retrieve([[1]], k=n - 1, exclude=[[1, 2]])
    with pytest.raises(RetrievalError, match="2 preferences for 1 histories"):
        retriever.retrieve([[1]], ["a", "b"], k=1)
    with pytest.raises(RetrievalError, match="0 exclusion lists for 1 histories"):
        retriever.retrieve([[1]], k=1, exclude=[])
    with pytest.raises(RetrievalError, match=f"more than {MAX_PREFERENCE}"):
        retriever.retrieve([[1]], ["a" * (MAX_PREFERENCE + 1)], k=1)
