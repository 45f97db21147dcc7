"""Intervals, differences and tests of several methods at once; and who is in which slice."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made import ByIndex, build_dataset

from deeprec.config import EvaluationConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import EvaluationError
from deeprec.evaluation.beyond import Yardstick
from deeprec.evaluation.bootstrap import mean_intervals, paired_differences, resampled_means
from deeprec.evaluation.comparison import Columns, compare_methods
from deeprec.evaluation.evaluate import evaluate
from deeprec.evaluation.permutation import holm, sign_flip_p_values
from deeprec.evaluation.slices import slice_masks, slice_summaries
from deeprec.metrics import RANKING_METRICS
from deeprec.recommender import Recommendation
from deeprec.trm.recommender import TRMRecommender
from deeprec.types import Example

USERS = 80


def columns(seed: int, shift: float = 0.0) -> Columns:
    generator = np.random.default_rng(seed)
    found = {name: np.clip(generator.random(USERS) + shift, 0, 2) for name in ("ndcg@10", "recall@10", "mrr")}
    return found | {"popularity": generator.random(USERS), "history_popularity": np.full(USERS, 0.25)}


def test_all_at_once_is_what_each_alone_gives() -> None:
    per_user = {"a": columns(0), "b": columns(1, 0.2), "c": columns(2)}
    found = compare_methods(per_user, [("b", "a"), ("a", "b"), ("c", "a")], 300, 999, seed=7)
    for name, own in per_user.items():
        alone = mean_intervals(np.stack([own["mrr"]], axis=1), 300, seed=7)[0]
        assert found.metrics[name]["mrr"].model_dump() == pytest.approx(alone.model_dump())
    alone_ = paired_differences(per_user["b"]["mrr"][:, None], per_user["a"]["mrr"][:, None], 300, seed=7)[0]
    together = found.differences["b"]["a"]["mrr"]
    assert (together.mean, together.low, together.high) == pytest.approx(
        (alone_.mean, alone_.low, alone_.high)
    )
    assert together.relative == pytest.approx(alone_.relative)
    assert together.p_value is None  # only NDCG@10 and Recall@10 are tested


def test_a_pair_given_both_ways_is_one_comparison() -> None:
    per_user = {"a": columns(0), "b": columns(1, 0.2), "c": columns(2)}
    found = compare_methods(per_user, [("b", "a"), ("a", "b"), ("c", "a")], 50, 999, seed=7)
    assert found.family == 4  # two pairs, two metrics
    there, back = found.differences["b"]["a"]["ndcg@10"], found.differences["a"]["b"]["ndcg@10"]
    assert (there.p_value, there.holm_p, there.mean) == (back.p_value, back.holm_p, -back.mean)
    differences = [
        per_user[left][metric] - per_user["a"][metric] for left in "bc" for metric in ("ndcg@10", "recall@10")
    ]
    p_values = sign_flip_p_values(np.stack(differences, axis=1), 999, seed=7).tolist()
    tested = [found.differences[left]["a"][metric] for left in "bc" for metric in ("ndcg@10", "recall@10")]
    assert [entry.p_value for entry in tested] == p_values
    assert [entry.holm_p for entry in tested] == holm(p_values)


def test_users_without_a_value_are_left_out_of_that_mean_alone() -> None:
    per_user = {"a": columns(0), "b": columns(1)}
    per_user["a"]["popularity"][:30] = np.nan
    found = compare_methods(per_user, [("b", "a")], 400, 10, seed=0)
    popularity = found.metrics["a"]["popularity"]
    assert popularity.mean == pytest.approx(np.nanmean(per_user["a"]["popularity"]))
    assert popularity.users == 50
    assert popularity.low < popularity.mean < popularity.high
    assert found.metrics["a"]["mrr"].users is None
    both = found.differences["b"]["a"]["popularity"]
    assert both.mean == pytest.approx(np.nanmean(per_user["b"]["popularity"] - per_user["a"]["popularity"]))
    assert both.users == 50
    empty = {"a": columns(0) | {"popularity": np.full(USERS, np.nan)}, "b": columns(1)}
    found = compare_methods(empty, [("b", "a")], 20, 10, seed=0)
    assert "popularity" not in found.metrics["a"]
    assert "popularity_lift" not in found.metrics["a"]
    assert "popularity" not in found.differences["b"]["a"]


def test_a_resample_that_drew_nobody_with_a_value_says_nothing() -> None:
    values = np.column_stack([[1.0, np.nan, np.nan], [1.0, 2.0, 3.0]])
    draws = resampled_means(values, 200, seed=0)
    assert np.isnan(draws[:, 0]).any()
    assert not np.isnan(draws[:, 1]).any()
    interval = mean_intervals(values, 200, seed=0)[0]
    assert (interval.mean, interval.low, interval.high, interval.users) == (1.0, 1.0, 1.0, 1)
    with pytest.raises(EvaluationError, match="column 0 has no value"):
        mean_intervals(np.full((3, 1), np.nan), 10, seed=0)


def test_the_lift_is_a_ratio_of_means_over_users_who_have_both() -> None:
    own = columns(0)
    own["history_popularity"] = np.random.default_rng(5).random(USERS)
    own["history_popularity"][:10] = np.nan
    lift = compare_methods({"a": own}, [], 500, 10, seed=0).metrics["a"]["popularity_lift"]
    assert lift.mean == pytest.approx(
        own["popularity"][10:].mean() / own["history_popularity"][10:].mean() - 1
    )
    assert lift.low < lift.mean < lift.high
    assert lift.users == USERS - 10


def test_slices_partition_and_count(dataset: Dataset) -> None:
    examples = sorted(dataset.examples("test"), key=lambda e: e.user_id)
    longer = [
        Example(e.user_id, e.history * (1 + number // 3), e.target) for number, e in enumerate(examples)
    ]  # lengths 4, 8, 12 and 16, three users each
    masks = {name: mask for (name, _), mask in slice_masks(longer, longer, Yardstick.of(dataset)).items()}
    assert masks["short history"].tolist() == [True] * 3 + [False] * 9
    assert masks["long history"].tolist() == [False] * 6 + [True] * 6
    # Targets are 5 to 16; the head is 3 to 12, items 13 and 14 have 2 and 1 interactions, 15 and 16 none.
    assert masks["head target"].tolist() == [True] * 8 + [False] * 4
    assert (masks["tail target"] == ~masks["head target"]).all()
    assert masks["cold target"].all()  # three interactions at most
    assert masks["unseen target"].tolist() == [False] * 10 + [True] * 2
    part = slice_masks(longer[:2], longer, Yardstick.of(dataset))
    assert ("short history", "history of at most 4 items") in part  # a sample is cut as the part is


def test_equal_histories_are_not_both_short_and_long(dataset: Dataset) -> None:
    examples = dataset.examples("test")
    masks = {name: mask for (name, _), mask in slice_masks(examples, examples, Yardstick.of(dataset)).items()}
    assert masks["short history"].all()
    assert not masks["long history"].any()


def test_a_slice_is_the_mean_over_its_users_and_an_empty_one_is_kept() -> None:
    values = {name: np.random.default_rng(0).random(USERS) for name in RANKING_METRICS}
    mask = np.arange(USERS) < 30
    some, none = slice_summaries(
        {("some", "the first"): mask, ("none", "nobody"): ~mask & mask}, {"trm": values}, 100, seed=0
    )
    assert some.metrics["trm"]["mrr"].mean == pytest.approx(values["mrr"][:30].mean())
    assert (some.users, some.is_small) == (30, True)
    assert (none.users, none.metrics, none.is_small) == (0, {}, True)


class Writing:
    """Writes text without a trajectory: odd users get an answer that can't be read."""

    name = "writer"

    def recommend(self, examples: list[Example], k: int = 10) -> list[Recommendation]:
        return [
            Recommendation(
                (e.target, 30), self.name, tokens=None if number % 3 == 0 else 6, is_valid=number % 2 == 0
            )
            for number, e in enumerate(examples)
        ]


def test_text_without_trajectories_has_tokens_and_validity(dataset: Dataset, retriever: ByIndex) -> None:
    config = EvaluationConfig(bootstrap=50)
    result = evaluate([Writing(), TRMRecommender(retriever, dataset)], dataset, "test", config, 0)
    writer = result.summary.method("writer")
    assert writer.metrics["validity"].mean == 0.5
    assert writer.metrics["tokens"].mean == 4.0  # no tokens are none sampled
    assert writer.metrics["recall@1"].mean == 0.5  # what is not valid is a miss
    assert writer.metrics["novelty"].users == 6
    assert writer.coverage == (6 + 1) / 40  # six targets, and item 30
    assert writer.figures["coverage"] == writer.coverage
    assert "validity" not in result.summary.method("trm").metrics


def test_users_by_name(retriever: ByIndex) -> None:
    dataset = build_dataset()
    config = EvaluationConfig(bootstrap=20)
    trm = [TRMRecommender(retriever, dataset)]
    whole = evaluate(trm, dataset, "test", config, 0).summary
    some = evaluate(trm, dataset, "test", config, 0, users=["u07", "u02", "u02"]).summary
    assert (some.users, some.sampled) == (2, True)
    assert some.targets != whole.targets
    assert some.part_targets == whole.part_targets
    with pytest.raises(ValueError, match=r"unknown user 'u77'.*'u07'"):
        evaluate(trm, dataset, "test", config, 0, users=["u77"])


def test_users_without_a_target_are_listed(retriever: ByIndex) -> None:
    dataset = build_dataset()
    rows = dataset.interactions.filter(
        (dataset.interactions["user_id"] != "u03") | (dataset.interactions["part"] != "test")
    )
    fewer = Dataset("fewer", dataset.catalog, rows, dataset.users)
    config = EvaluationConfig(bootstrap=20)
    trm = [TRMRecommender(retriever, fewer)]
    assert evaluate(trm, fewer, "test", config, 0).summary.without_target == ["u03"]
    named = evaluate(trm, fewer, "test", config, 0, users=["u03", "u04"]).summary
    assert (named.users, named.without_target) == (1, ["u03"])
    with pytest.raises(EvaluationError, match="no target in part 'test' for 'u03'"):
        evaluate(trm, fewer, "test", config, 0, users=["u03"])
