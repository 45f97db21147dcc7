from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from deeprec.config import SelectionConfig
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.rl.selection import select
from deeprec.types import Item

N_ITEMS, USERS = 20, 30


class ByIndex:
    """Ranks item 1 first, item 2 second, ..."""

    n_items = N_ITEMS

    def score(self, histories, preferences=None):
        scores = np.tile(-np.arange(N_ITEMS + 1, dtype=np.float32), (len(histories), 1))
        scores[:, 0] = -np.inf
        return scores


@pytest.fixture
def dataset() -> Dataset:
    items = tuple(Item(i, f"id{i}", f"Title {i}", f"Title {i}") for i in range(1, N_ITEMS + 1))
    rows = []
    for user in range(USERS):
        targets = [19 - user % 3, 3 + user % 15]  # the second is ranked 3 to 17 before exclusions
        history = [20, 1]
        for time, (item, part) in enumerate(
            [(h, "fit") for h in history] + [(t, "rl") for t in targets] + [(2, "test")]
        ):
            rows.append((f"u{user:02}", item, float(time), 4.0, part))
    names = ("user_id", "item_index", "timestamp", "rating", "part")
    schema = dict(zip(names, (pl.String, pl.Int32, pl.Float64, pl.Float32, pl.String), strict=True))
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    users = pl.DataFrame({"user_id": frame["user_id"].unique(maintain_order=True)})
    return Dataset("toy", Catalog(items), frame, users)


def test_hard_targets_are_dropped(dataset):
    found = select(dataset, ByIndex(), SelectionConfig(max_rank=10, stage_one_share=0.5), seed=0)
    kept = [*found.cold_start, *found.recommendation]
    # Item 1 is in every history, so item t stands at rank t - 1.
    assert {example.target for example in kept} == set(range(3, 12))
    assert found.counts == {
        "examples": 60,
        "too_hard": 60 - len(kept),
        "cold_start_examples": len(found.cold_start),
        "recommendation_examples": len(found.recommendation),
    }
    assert len(kept) == 18


def test_pools_share_no_user(dataset):
    found = select(dataset, ByIndex(), SelectionConfig(max_rank=20, stage_one_share=0.3), seed=3)
    users = [{example.user_id for example in pool} for pool in (found.cold_start, found.recommendation)]
    assert not users[0] & users[1]
    assert len(users[0] | users[1]) == USERS
    assert len(found.cold_start) == 18  # 9 whole users of 30, two targets each


def test_deterministic_by_seed(dataset):
    config = SelectionConfig(max_rank=20, stage_one_share=0.5)
    assert select(dataset, ByIndex(), config, 1) == select(dataset, ByIndex(), config, 1)
    assert select(dataset, ByIndex(), config, 1) != select(dataset, ByIndex(), config, 2)


def test_nothing_left_names_the_remedy(dataset):
    with pytest.raises(TrainingError, match=r"none of 60 RL targets in its top 1 .*max_rank"):
        select(dataset, ByIndex(), SelectionConfig(max_rank=1), seed=0)


def test_no_rl_part_names_the_remedy(dataset):
    bare = Dataset("toy", dataset.catalog, dataset.interactions.filter(pl.col("part") != "rl"), dataset.users)
    with pytest.raises(TrainingError, match=r"no RL targets; prepare it with data\.rl_targets"):
        select(bare, ByIndex(), SelectionConfig(), seed=0)


def test_a_stage_without_examples_names_the_remedy(dataset):
    found = select(dataset, ByIndex(), SelectionConfig(stage_one_share=0.0), seed=0)
    assert len(found.pool("recommendation")) == 60
    with pytest.raises(TrainingError, match=r"no examples for stage 'cold_start'.*stage_one_share"):
        found.pool("cold_start")
