from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.trm.baselines import item_counts
from deeprec.trm.own import FunctionRetriever


def _giving(dataset: Dataset, ids: Any, scores: Any, depth: int = 1000) -> FunctionRetriever:
    return FunctionRetriever.fit(lambda histories, preferences, k: (ids, scores), dataset, depth)


def test_the_function_sees_ids_and_preferences(small_dataset: Dataset) -> None:
    asked = []

    def ask(histories: Any, preferences: Any, k: int) -> Any:
        asked.append((histories, preferences, k))
        return [[] for _ in histories], [[] for _ in histories]

    retriever = FunctionRetriever.fit(ask, small_dataset, depth=30)
    retriever.retrieve([[2, 1], [], []], [None, "Comedy", " "], k=5)
    catalog = small_dataset.catalog
    assert asked == [([[catalog[2].item_id, catalog[1].item_id], []], [None, "Comedy"], 30)]
    retriever.retrieve([[]])  # nothing is known: popularity answers, nobody is asked
    assert len(asked) == 1


def test_what_it_leaves_out_follows_by_popularity(small_dataset: Dataset) -> None:
    catalog, counts = small_dataset.catalog, item_counts(small_dataset)
    least = int(np.argmin(counts[1:])) + 1
    for scores in ([5.0, 7.0], [-5.0, -4.0], [0.0, 0.0], [1e6, 1e6 + 1]):
        retriever = _giving(small_dataset, [[catalog[least].item_id, catalog[3].item_id]], [scores])
        found = retriever.retrieve([[4]], k=catalog.n_items)
        best = [least, 3] if scores[0] > scores[1] else [3, least]
        listed = found.item_indices[0, :2].tolist()
        assert listed == (sorted(best) if scores[0] == scores[1] else best)
        rest = found.item_indices[0, 2:]
        assert (np.diff(counts[rest]) <= 0).all()
        assert (found.scores[0, 2:] < min(scores)).all()


@pytest.mark.parametrize(
    ("ids", "scores", "message"),
    [
        ([["nowhere"]], [[1.0]], "item id 'nowhere' for history 1, which the catalogue lacks"),
        ([["i1"]], [[float("nan")]], "the score nan for item 'i1', history 1"),
        ([["i1", "i2"]], [[1.0]], "2 ids and 1 scores for history 1"),
        ([["i1", "i1"]], [[1.0, 2.0]], "item id 'i1' twice for history 1"),
        ([], [], "gave 0 lists of ids and 0 of scores for 1 histories"),
    ],
)
def test_wrong_lists_are_named(small_dataset: Dataset, ids: Any, scores: Any, message: str) -> None:
    names = {"i1": small_dataset.catalog[1].item_id, "i2": small_dataset.catalog[2].item_id}
    real = [[names.get(name, name) for name in row] for row in ids]
    for short, name in names.items():
        message = message.replace(f"'{short}'", f"'{name}'")
    with pytest.raises(RetrievalError, match=message):
        _giving(small_dataset, real, scores).score([[], [2]])  # the empty one is not asked about
