"""Your own retriever: a function of item ids, or a factory that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.config import TRMConfig
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.errors import ConfigError, RetrievalError
from deeprec.references import check_members, load_function
from deeprec.trm.base import Histories, Preferences, Retriever
from deeprec.trm.baselines import item_counts
from deeprec.trm.ranking import Scored, check_histories, check_preferences

Ids = Sequence[Sequence[str]]
Ask = Callable[[list[list[str]], list[str | None], int], tuple[Ids, Sequence[Sequence[float]]]]


class FunctionRetriever(Scored):
    """A function `(histories of item ids, preferences, k) -> (item ids, scores)` as a Retriever.

    The function is asked for the best `depth` items of each history, and may return fewer; it
    must answer the same question alike, in any batch. Higher scores are better; scores of
    different histories need not compare. Items that it leaves out stand below all that it
    lists, by popularity in the fit part: their `score` keeps the order and means nothing else,
    and a target among them gets a rank by popularity. Take `depth` well above what is
    retrieved plus what a user may have had, since excluded items are taken out afterwards.
    An empty history without a preference is answered by popularity; the function isn't asked.
    """

    def __init__(
        self, function: Ask, catalog: Catalog, counts: NDArray[np.float32], depth: int = 1000
    ) -> None:
        """`counts` (n_items + 1,) is the popularity of items; see `item_counts`."""
        self._function = function
        self._catalog = catalog
        self._depth = min(depth, catalog.n_items)
        order = np.lexsort((np.arange(1, catalog.n_items + 1), -counts[1:]))
        self._prior = np.full(catalog.n_items + 1, -np.inf, dtype=np.float32)
        self._prior[1 + order] = np.linspace(0, -1, catalog.n_items, dtype=np.float32)  # best first

    @classmethod
    def fit(cls, function: Ask, dataset: Dataset, depth: int = 1000) -> FunctionRetriever:
        """With the data set's catalogue, and popularity from its fit part."""
        return cls(function, dataset.catalog, item_counts(dataset), depth)

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return self._catalog.n_items

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """The function's scores, and below them the rest by popularity; (B, n_items + 1).

        Raises RetrievalError for lists that are not parallel to the histories, an id that is
        unknown or listed twice, or a score that is not finite.
        """
        check_histories(histories, self.n_items)
        wanted = check_preferences(preferences, len(histories))
        scores = np.tile(self._prior, (len(histories), 1))
        asked = [row for row, items in enumerate(histories) if len(items) or wanted[row]]
        if not asked:
            return scores
        ids = [[self._catalog[item].item_id for item in histories[row]] for row in asked]
        lists, values = self._function(ids, [wanted[row] for row in asked], self._depth)
        if len(lists) != len(asked) or len(values) != len(asked):
            raise RetrievalError(
                f"the function gave {len(lists)} lists of ids and {len(values)} of scores "
                f"for {len(asked)} histories; return one each, in order"
            )
        for row, listed, own in zip(asked, lists, values, strict=True):
            self._place(scores[row], row, listed, own)
        return scores

    def _place(
        self, scores: NDArray[np.float32], row: int, ids: Sequence[str], values: Sequence[float]
    ) -> None:
        """Write the listed items' scores into a row, and push the rest below them."""
        if len(ids) != len(values):
            raise RetrievalError(
                f"the function gave {len(ids)} ids and {len(values)} scores for history {row}"
            )
        items = []
        for item_id, value in zip(ids, values, strict=True):
            item = self._catalog.index_of(item_id)
            if item is None:
                raise RetrievalError(
                    f"the function gave item id '{item_id}' for history {row}, which the catalogue lacks; "
                    "return ids of this data set only"
                )
            if not np.isfinite(value):
                raise RetrievalError(
                    f"the function gave the score {value} for item '{item_id}', history {row}; give finite scores"
                )
            items.append(item)
        if len(set(items)) < len(items):
            twice = next(item for place, item in enumerate(items) if item in items[:place])
            raise RetrievalError(
                f"the function gave item id '{self._catalog[twice].item_id}' twice for history {row}"
            )
        if items:
            own = np.asarray(values, dtype=np.float32)
            low, span = float(own.min()), max(float(np.ptp(own)), abs(float(own.min())), 1e-3)
            scores[1:] = low - span * (1e-3 - scores[1:])
            scores[items] = own


def build_own(kind: str, dataset: Dataset, config: TRMConfig) -> Retriever:
    """What the factory named `package.module:factory` makes of the data set.

    Raises ConfigError for a place that can't be imported or called, and for an object that is
    no Retriever of this catalogue.
    """
    return check_retriever(load_factory(kind)(dataset, config), dataset, f"trm.kind = '{kind}'")


def load_factory(kind: str) -> Callable[..., Any]:
    """The factory itself; raises ConfigError for one that can't be loaded, or called as one."""
    return load_function(kind, "trm.kind", ("dataset", "config"))


def check_retriever(found: Any, dataset: Dataset, place: str) -> Retriever:
    """The object, if it is a Retriever of this catalogue; raises ConfigError naming what it lacks."""
    check_members(found, "Retriever", ("n_items", "score", "retrieve", "item_vectors"), place)
    if found.n_items != dataset.catalog.n_items:
        raise ConfigError(
            f"{place}: the retriever ranks {found.n_items} items, the catalogue holds {dataset.catalog.n_items}"
        )
    retriever: Retriever = found
    return retriever
