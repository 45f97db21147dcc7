"""Everyone gets k items, or all that are left."""

from __future__ import annotations

import numpy as np
import pytest
from small_world import build_dataset

from deeprec.errors import RetrievalError
from deeprec.evaluation.behaviour import plain_ranks
from deeprec.trm.base import Retriever
from deeprec.trm.baselines import ItemKNN
from deeprec.trm.left import check_size, retrieve_left, top_left
from deeprec.trm.quality import pool_recalls
from deeprec.types import Example

DATASET = build_dataset()
KNN: Retriever = ItemKNN.fit(DATASET)
HISTORIES = [example.history for example in DATASET.examples("test")]
EVERYTHING = tuple(range(1, 31))


def test_each_request_gets_what_it_gets_alone() -> None:
    exclude = [EVERYTHING[:28], (), EVERYTHING, HISTORIES[3], (*EVERYTHING[:25], 1, 2)]
    found = retrieve_left(KNN, HISTORIES[:5], None, 5, exclude)
    assert [len(one.items) for one in found] == [2, 5, 0, 5, 5]
    for history, closed, one in zip(HISTORIES, exclude, found, strict=False):
        if one.items:
            alone = KNN.retrieve([history], None, len(one.items), [closed])
            assert one.items == tuple(alone.item_indices[0].tolist())
            assert one.scores == pytest.approx(alone.scores[0].tolist())
    assert found == [
        retrieve_left(KNN, [history], None, 5, [closed])[0]
        for history, closed in zip(HISTORIES[:5], exclude, strict=True)
    ]


def test_scores_are_ranked_the_same_way() -> None:
    exclude = [EVERYTHING[:28], (), EVERYTHING]
    scores = KNN.score(HISTORIES[:3])
    assert top_left(scores, 4, exclude) == retrieve_left(KNN, HISTORIES[:3], None, 4, exclude)
    assert top_left(np.zeros((0, 31), np.float32), 4, []) == []


def test_a_size_beyond_the_catalogue_is_refused() -> None:
    check_size(30, 30)
    for k in (0, 31):
        with pytest.raises(RetrievalError, match=f"k = {k}: choose from 1 to the 30 items"):
            check_size(k, 30)


def test_one_who_knows_everything_changes_no_figure_of_the_others() -> None:
    examples = DATASET.examples("test")
    knows = Example("u9", EVERYTHING[:-1], target=30)
    assert plain_ranks(KNN, DATASET, [*examples, knows], 12).tolist() == [
        *plain_ranks(KNN, DATASET, examples, 12).tolist(),
        1,
    ]
    turns = [[None] * len(examples), [None] * len(examples)]
    alone = pool_recalls(KNN, DATASET, examples, turns, 6)
    together = pool_recalls(KNN, DATASET, [*examples, knows], [[*turn, None] for turn in turns], 6)
    count = len(examples)
    assert together == pytest.approx([(recall * count + 1) / (count + 1) for recall in alone])
