"""Evaluation on users whose every figure can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hand_made import ByIndex, Letters, Policy, build_dataset, make_trajectory

from deeprec.config import EvaluationConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import EvaluationError
from deeprec.evaluation.comparison import compare_methods
from deeprec.evaluation.evaluate import choose_examples, evaluate
from deeprec.evaluation.heldout import heldout_evaluator
from deeprec.recommender import Recommendation
from deeprec.trm.recommender import TRMRecommender
from deeprec.types import Example, StopReason, Trajectory

CONFIG = EvaluationConfig(bootstrap=200)


def number(example: Example) -> int:
    return int(example.user_id[1:])


def policy(example: Example) -> Trajectory:
    """Even users: two turns, target first. Odd ones: no list, though the target was retrieved."""
    if number(example) % 2 == 0:
        return make_trajectory(example, (("a", (20, 21)), ("b", (22, example.target))), (example.target, 30))
    return make_trajectory(
        example,
        (("a", (example.target,)),),
        (example.target,),
        StopReason.NO_LIST,
        ("no recommendation list",),
    )


def test_ranking_metrics_of_every_user(dataset: Dataset, retriever: ByIndex, encoder: Letters) -> None:
    recommenders = [TRMRecommender(retriever, dataset), Policy(policy)]
    result = evaluate(recommenders, dataset, "test", CONFIG, 0, retriever=retriever, encoder=encoder)
    # User 0 saw 1..4 and is given 5..14; the target is 5. User 1 saw 2..5: 1, 6, ...; target 6. And so on.
    ranks = np.array([user + 1 for user in range(12)])
    trm = result.per_user["trm"]
    assert trm["recall@1"].tolist() == (ranks == 1).astype(float).tolist()
    assert trm["recall@10"].tolist() == (ranks <= 10).astype(float).tolist()
    summary = result.summary.method("recommendation")
    assert (
        summary.metrics["recall@1"].mean == 0.5
    )  # a failed trajectory is a miss, whatever its ranking holds
    assert summary.metrics["validity"].mean == 0.5
    assert summary.metrics["retrievals"].mean == 1.5
    assert summary.metrics["tokens"].mean == 3
    assert summary.metrics["pool_recall"].mean == 1.0
    assert result.summary.targets == dataset.targets_hash("test")
    assert result.summary.users == 12
    assert not result.summary.without_target
    assert not result.summary.few_left


def test_one_who_has_seen_nearly_everything_is_named_and_changes_nothing_else(
    dataset: Dataset, retriever: ByIndex
) -> None:
    """User 5 has seen all but the target and the last item; the figures of the others stay."""
    before = evaluate([TRMRecommender(retriever, dataset)], dataset, "test", CONFIG, 0).per_user["trm"]
    target, last = dataset.examples("test")[5].target, dataset.catalog.n_items
    known = [item for item in range(1, last) if item not in (target, target - 1)]  # validation is one less
    seen = pl.DataFrame(
        {"user_id": "u05", "item_index": known, "timestamp": 0.0, "rating": 4.0, "part": "fit"},
        schema=dataset.interactions.schema,
    )
    others = dataset.interactions.filter((pl.col("user_id") != "u05") | (pl.col("part") != "fit"))
    heavy = replace(dataset, interactions=pl.concat([seen, others]).sort("user_id", maintain_order=True))
    result = evaluate([TRMRecommender(retriever, heavy)], heavy, "test", CONFIG, 0)
    assert result.summary.few_left == ["u05"]
    place = [example.user_id for example in result.examples].index("u05")
    assert result.recommendations["trm"][place].ranking == (target, last)
    after = result.per_user["trm"]
    for name in ("recall@1", "recall@10", "ndcg@10"):
        assert np.delete(after[name], place).tolist() == np.delete(before[name], place).tolist()
    assert after["recall@1"][place] == 1.0


def test_behaviour(dataset: Dataset, retriever: ByIndex, encoder: Letters) -> None:
    result = evaluate([Policy(policy)], dataset, "test", CONFIG, 0, retriever=retriever, encoder=encoder)
    behaviour = result.summary.method("recommendation").behaviour
    assert behaviour is not None
    assert behaviour.stop_reasons == {"finished": 6, "no_list": 6}
    assert behaviour.turns == {1: 6, 2: 6}
    assert behaviour.format_errors == {"no recommendation list": 6}
    assert behaviour.diversity == pytest.approx(1.0)  # "a" and "b" are orthogonal
    assert behaviour.diversity_users == 6
    dependence = behaviour.dependence
    assert dependence is not None
    assert (dependence.distinct, dependence.commonest_share) == (2, 0.5)
    assert dependence.entropy == pytest.approx(1.0)
    assert dependence.ceiling == pytest.approx(math.log2(12))


def test_pool_beside_the_plain_top(dataset: Dataset, retriever: ByIndex) -> None:
    result = evaluate([Policy(policy)], dataset, "test", CONFIG, 0, retriever=retriever)
    behaviour = result.summary.method("recommendation").behaviour
    assert behaviour is not None
    first, second = behaviour.pool
    assert (first.recall, first.size) == (0.5, 1.5)
    assert first.plain_recall == pytest.approx(2 / 12)  # round(1.5) = 2: users 0 and 1
    assert first.matched_recall == pytest.approx(1 / 12)  # two items for even users, one for odd ones: user 0
    assert (second.recall, second.size) == (1.0, 2.5)
    assert second.gain.mean == pytest.approx(second.recall - second.matched_recall)


def test_differences_are_paired(dataset: Dataset, retriever: ByIndex) -> None:
    same = [TRMRecommender(retriever, dataset), TRMRecommender(retriever, dataset, "again")]
    result = evaluate(same, dataset, "test", CONFIG, 0)
    difference = result.summary.method("again").differences["trm"]["ndcg@10"]
    # Unpaired, the interval of two equal methods would be wide; paired, it is a point.
    assert (difference.mean, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert difference.verdict == "no clear difference"
    best = evaluate(
        [*same[:1], Policy(lambda e: make_trajectory(e, ranking=(e.target,)))], dataset, "test", CONFIG, 0
    )
    gain = best.summary.method("recommendation").differences["trm"]["recall@1"]
    assert gain.verdict == "ahead"
    assert gain.mean == pytest.approx(11 / 12)
    assert gain.relative == pytest.approx(11.0)


def test_nothing_depends_on_the_order_of_users(retriever: ByIndex, encoder: Letters) -> None:
    config = EvaluationConfig(bootstrap=100, max_users=7)
    results = []
    for order in (range(12), reversed(range(12))):
        dataset = build_dataset(tuple(order))
        found = evaluate(
            [TRMRecommender(retriever, dataset, "popularity"), Policy(policy)],
            dataset,
            "test",
            config,
            3,
            retriever=retriever,
            encoder=encoder,
            baselines=["popularity"],
        )
        results.append(
            found.summary.model_dump(exclude={"minutes": True, "methods": {"__all__": {"seconds_per_user"}}})
        )
    # `seconds_per_user` is a measurement and differs; everything else is equal to the last bit.
    for summary in results:
        for method in summary["methods"].values():
            method.pop("seconds_per_user", None)
    assert results[0] == results[1]
    assert results[0]["users"] == 7
    assert results[0]["sampled"]


def test_a_larger_sample_holds_the_smaller_one(dataset: Dataset) -> None:
    small, sampled = choose_examples(dataset, "test", 4, seed=1)
    large, _ = choose_examples(dataset, "test", 8, seed=1)
    other, _ = choose_examples(dataset, "test", 4, seed=2)
    assert sampled
    assert {e.user_id for e in small} < {e.user_id for e in large}
    assert [e.user_id for e in small] != [e.user_id for e in other]
    assert choose_examples(dataset, "test", 12, seed=1)[1] is False


def test_a_sample_has_a_hash_of_its_own(dataset: Dataset, retriever: ByIndex) -> None:
    config = EvaluationConfig(bootstrap=10, max_users=5)
    result = evaluate([TRMRecommender(retriever, dataset)], dataset, "test", config, 0)
    assert result.summary.targets != dataset.targets_hash("test")


def test_reward_parts_become_columns(dataset: Dataset, retriever: ByIndex) -> None:
    result = evaluate(
        [Policy(policy)],
        dataset,
        "test",
        CONFIG,
        0,
        rewards=lambda trajectories, examples: {"hit": np.array([t.is_valid * 1.0 for t in trajectories])},
    )
    assert result.summary.method("recommendation").metrics["reward/hit"].mean == 0.5


class Filling:
    name = "deeprec"

    def recommend(self, examples: list[Example], k: int = 10) -> list[Recommendation]:
        return [Recommendation((30,), "trm", "no_list", make_trajectory(e)) for e in examples]


class Inventing:
    name = "inventing"

    def recommend(self, examples: list[Example], k: int = 10) -> list[Recommendation]:
        return [Recommendation((999,), "inventing") for _ in examples]


def test_what_is_refused(dataset: Dataset, retriever: ByIndex) -> None:
    trm = TRMRecommender(retriever, dataset)
    for recommenders, message in (
        ([], "no recommender"),
        ([trm, trm], "two recommenders of one name"),
        ([Filling()], "fill_in=False"),
        ([Inventing()], "unknown item index 999"),
    ):
        with pytest.raises(EvaluationError, match=message):
            evaluate(recommenders, dataset, "test", CONFIG, 0)
    with pytest.raises(EvaluationError, match="baseline 'rival' is not among"):
        evaluate([trm], dataset, "test", CONFIG, 0, baselines=["rival"])
    with pytest.raises(EvaluationError, match="has no targets"):
        evaluate([trm], dataset, "rl", CONFIG, 0)
    with pytest.raises(EvaluationError, match="share no metric"):
        compare_methods({"a": {"mrr": np.zeros(2)}, "b": {"turns": np.zeros(2)}}, [("a", "b")], 10, 10, 0)
    with pytest.raises(EvaluationError, match="not the same users"):
        compare_methods({"a": {"mrr": np.zeros(2)}, "b": {"mrr": np.zeros(3)}}, [("a", "b")], 10, 10, 0)


def test_heldout_figures(dataset: Dataset) -> None:
    examples = dataset.examples("validation")
    found = heldout_evaluator(
        [policy(e) for e in examples],
        examples,
        {"hit": np.full(12, 0.5), "rank": np.full(12, 2.0)},
        {"hit": 1.0, "rank": 0.25},
    )
    assert found["heldout/recall@1"] == 0.5
    assert found["heldout/validity"] == 0.5
    assert found["heldout/reward/rank"] == 2.0
    assert found["heldout/reward"] == 1.0
    assert found["heldout/distinct_preferences"] == pytest.approx(2 / 18)
    assert found["heldout/commonest_preference"] == pytest.approx(12 / 18)
    assert all(isinstance(value, float) for value in found.values())
