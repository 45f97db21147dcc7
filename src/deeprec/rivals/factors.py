"""Matrix factorisation by `implicit`: ALS, and BPR. One thread, so that a seed gives one result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec import methods
from deeprec.data.dataset import Dataset
from deeprec.errors import MissingExtraError
from deeprec.recommender import Recommendation
from deeprec.trm.base import Histories, Preferences
from deeprec.trm.baselines import read_tensors, recency_matrix, seen_matrix
from deeprec.trm.left import check_size, top_left
from deeprec.trm.ranking import Scored, check_histories, check_preferences
from deeprec.types import Example

_USERS_PER_CALL = 256  # bounds the (users, items) matrix


class ALS(Scored):
    """Implicit-feedback ALS (Hu, Koren and Volinsky 2008): confidence 1 + alpha for what a user had.

    Any history is folded in: the user's factors are solved for from the items' (`implicit`), each
    item with confidence 1 + alpha * decay ** age.
    """

    def __init__(self, items: NDArray[np.float32], regularization: float, alpha: float, decay: float) -> None:
        """`items` (n_items + 1, D) are the factors, row 0 zero."""
        self._items = items
        self._regularization = regularization
        self._alpha = alpha
        self._decay = decay
        with one_blas_thread():
            self._model = _als(items.shape[1], regularization, iterations=0, seed=0)
        self._model.item_factors = items

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        factors: int,
        regularization: float,
        alpha: float,
        iterations: int,
        seed: int,
        decay: float = 1.0,
    ) -> ALS:
        """Factorise the fit part. Raises MissingExtraError without `implicit`."""
        with one_blas_thread():
            model = _als(factors, regularization, iterations, seed)
            # `implicit` takes confidences: 1 + alpha for what a user had, and 1 for all else by itself.
            model.fit((1 + alpha) * seen_matrix(dataset), show_progress=False)
        items = np.array(model.item_factors, dtype=np.float32)
        items[0] = 0.0
        return cls(items, regularization, alpha, decay)

    def with_decay(self, decay: float) -> ALS:
        """The same factors, histories read with another weight of older items."""
        return ALS(self._items, self._regularization, self._alpha, decay)

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self._items) - 1

    @property
    def items(self) -> NDArray[np.float32]:
        """Item factors (n_items + 1, D)."""
        return self._items

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Inner products with the folded-in user, (B, n_items + 1); column 0 is -inf."""
        check_histories(histories, self.n_items)
        check_preferences(preferences, len(histories))
        recent = recency_matrix(histories, self.n_items, self._decay)
        recent.data = 1 + self._alpha * recent.data
        with one_blas_thread():
            users = self._model.recalculate_user(np.arange(len(histories)), recent)
        return _products(users, self._items)

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        from safetensors.numpy import save_file

        facts = {"regularization": self._regularization, "alpha": self._alpha, "decay": self._decay}
        save_file(
            {"items": self._items}, str(file), metadata={name: repr(value) for name, value in facts.items()}
        )

    @classmethod
    def load(cls, file: Path, n_items: int) -> ALS:
        """Read what `save` wrote; raises RetrievalError for a broken file or another catalogue."""
        tensors, facts = read_tensors(file, n_items, "items")
        return cls(
            tensors["items"], float(facts["regularization"]), float(facts["alpha"]), float(facts["decay"])
        )


class BPR:
    """Bayesian personalised ranking (Rendle et al. 2009, arXiv 1205.2618), a Recommender.

    A user of the fit part is ranked for by their own factors, which know nothing of later items. BPR
    has no way to fold a history in: a user who is not in the fit part gets the mean of their items'
    factors.
    """

    name = methods.BPR

    def __init__(self, items: NDArray[np.float32], users: NDArray[np.float32], dataset: Dataset) -> None:
        """`items` (n_items + 1, D), `users` (U, D) in the order of the data set's fit histories."""
        self._items = items
        self._users = users
        self._dataset = dataset
        self._rows = {example.user_id: row for row, example in enumerate(dataset.fit_histories())}

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        factors: int,
        learning_rate: float,
        regularization: float,
        iterations: int,
        seed: int,
    ) -> BPR:
        """Factorise the fit part. Raises MissingExtraError without `implicit`."""
        module = _implicit("implicit.cpu.bpr")
        with one_blas_thread():
            model = module.BayesianPersonalizedRanking(
                factors=factors,
                learning_rate=learning_rate,
                regularization=regularization,
                iterations=iterations,
                num_threads=1,
                random_state=seed,
            )
            model.fit(seen_matrix(dataset), show_progress=False)
        items = np.array(model.item_factors, dtype=np.float32)
        items[0] = 0.0
        return cls(items, np.array(model.user_factors, dtype=np.float32), dataset)

    @property
    def items(self) -> NDArray[np.float32]:
        """Item factors (n_items + 1, D); the last feature is the bias."""
        return self._items

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        """The top k of each example, in order; all that are left where those are fewer.

        Raises RetrievalError for k beyond the catalogue.
        """
        check_size(k, self._dataset.catalog.n_items)
        found: list[Recommendation] = []
        for start in range(0, len(examples), _USERS_PER_CALL):
            batch = examples[start : start + _USERS_PER_CALL]
            excluded = [self._dataset.exclusions(example) for example in batch]
            found += [
                Recommendation(one.items, self.name) for one in top_left(self.score(batch), k, excluded)
            ]
        return found

    def score(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Scores of all items, (B, n_items + 1); column 0 is -inf."""
        check_histories([example.history for example in examples], len(self._items) - 1)
        return _products(np.stack([self._user(example) for example in examples]), self._items)

    def _user(self, example: Example) -> NDArray[np.float32]:
        row = self._rows.get(example.user_id)
        user: NDArray[np.float32] = np.zeros(self._users.shape[1], np.float32)
        if row is not None:
            user[:] = self._users[row]
        elif example.history:
            user = self._items[list(example.history)].mean(axis=0)
        if row is None:
            user[-1] = 1.0  # what multiplies the items' bias
        return user

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        from safetensors.numpy import save_file

        save_file({"items": self._items, "users": self._users}, str(file))

    @classmethod
    def load(cls, file: Path, dataset: Dataset) -> BPR:
        """Read what `save` wrote; raises RetrievalError for a broken file or another catalogue."""
        tensors, _ = read_tensors(file, dataset.catalog.n_items, "items")
        return cls(tensors["items"], tensors["users"], dataset)


def _products(users: NDArray[np.float32], items: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inner products (B, n_items + 1), column 0 -inf.

    In double precision and rounded: what a user gets must not depend on who else is in the batch.
    """
    scores = (users.astype(np.float64) @ items.astype(np.float64).T).astype(np.float32)
    scores[:, 0] = -np.inf
    return scores


def _als(factors: int, regularization: float, iterations: int, seed: int) -> Any:
    return _implicit("implicit.cpu.als").AlternatingLeastSquares(
        factors=factors,
        regularization=regularization,
        iterations=iterations,
        num_threads=1,
        random_state=seed,
    )


def check_extra() -> None:
    """Raise MissingExtraError without the library that factorises."""
    _implicit("implicit.cpu.als")


def _implicit(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError("matrix factorisation (als, bpr)", "baselines") from None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """`implicit` brings its own threads; those of BLAS beside them only wait for each other."""
    with _threads().limit(limits=1, user_api="blas"):
        yield


@cache
def _threads() -> Any:
    # Made once, since it looks through all libraries; after implicit has loaded its own.
    _implicit("implicit.cpu.als")
    from threadpoolctl import ThreadpoolController  # implicit depends on it

    return ThreadpoolController()
