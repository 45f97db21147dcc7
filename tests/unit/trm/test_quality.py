from __future__ import annotations

import numpy as np
import pytest

from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.trm.baselines import Popularity
from deeprec.trm.phrases import item_phrases
from deeprec.trm.quality import (
    compare,
    draw_preferences,
    examples_of,
    pool_recalls,
    pool_table,
    preference_kinds,
    steering,
)
from deeprec.trm.ranking import catalogue_ranks
from deeprec.trm.retriever import TRM


def test_a_true_phrase_halves_the_rank_and_useless_ones_cost_nothing(
    small_trm: TRM, small_dataset: Dataset
) -> None:
    rows = {row.method: row for row in compare(small_trm, small_dataset, "validation")}
    plain = rows["trm"]
    assert rows["trm + true phrase"].median_rank <= 0.5 * plain.median_rank
    assert rows["trm + two true phrases"].median_rank <= rows["trm + true phrase"].median_rank
    assert rows["trm + wrong phrase"].ndcg_at_10 < plain.ndcg_at_10
    assert rows["trm + unknown words"].ndcg_at_10 == plain.ndcg_at_10
    assert rows["trm + small talk"].ndcg_at_10 >= 0.95 * plain.ndcg_at_10


def test_lists_differ_by_text_and_fit_it(small_trm: TRM, small_dataset: Dataset) -> None:
    found = steering(small_trm, small_dataset, small_dataset.examples("validation"), 10)
    assert found.overlap < 0.6
    assert found.fit > 2 * found.fit_plain


def test_a_retriever_that_reads_no_text_overlaps_wholly(small_dataset: Dataset) -> None:
    popularity = Popularity.fit(small_dataset)
    found = steering(popularity, small_dataset, small_dataset.examples("test")[:20], 10)
    assert found.overlap == 1
    assert found.fit == found.fit_plain


def test_pools_grow_and_plain_turns_are_the_plain_list(small_trm: TRM, small_dataset: Dataset) -> None:
    examples = small_dataset.examples("validation")
    pools = pool_table(small_trm, small_dataset, examples, 5)
    ranks = catalogue_ranks(small_trm, examples, dataset=small_dataset)
    assert [pool.plain for pool in pools] == [float((ranks <= 5 * turn).mean()) for turn in (1, 2, 3, 4)]
    for name in ("oracle", "plain_then_oracle", "from_history", "random"):
        values = [getattr(pool, name) for pool in pools]
        assert values == sorted(values)
    assert pools[1].plain_then_oracle > pools[1].plain
    assert pools[0].plain_then_oracle == pools[0].plain


def test_a_pool_may_exhaust_the_catalogue(small_dataset: Dataset) -> None:
    examples = small_dataset.examples("test")[:1]
    turns = [[None]] * 6
    recalls = pool_recalls(Popularity.fit(small_dataset), small_dataset, examples, turns, 30)
    assert recalls[-1] == 1


def test_kinds_are_what_they_say(small_dataset: Dataset) -> None:
    examples = small_dataset.examples("test")
    kinds = preference_kinds(small_dataset, examples)
    assert kinds[""] is None
    for example, one, two in zip(
        examples, kinds["true phrase"] or [], kinds["two true phrases"] or [], strict=True
    ):
        phrases = item_phrases(small_dataset.catalog[example.target])
        assert one in phrases
        assert set(two.split("; ")) <= set(phrases)
        assert len(two.split("; ")) == 2
    assert kinds == preference_kinds(small_dataset, examples)


def test_drawn_preferences_are_true(small_dataset: Dataset) -> None:
    items = [1, 2, 3]
    for item, text in zip(
        items, draw_preferences(small_dataset, items, np.random.default_rng(0)), strict=True
    ):
        assert set(text.split("; ")) <= set(item_phrases(small_dataset.catalog[item]))


def test_an_empty_part_is_an_error(small_dataset: Dataset) -> None:
    empty = Dataset(
        "empty", small_dataset.catalog, small_dataset.interactions.filter(False), small_dataset.users
    )
    with pytest.raises(RetrievalError, match="no examples in part 'test'"):
        examples_of(empty, "test")
