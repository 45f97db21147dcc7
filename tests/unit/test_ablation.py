"""Variants as data: what they change, what is refused, and how a table's cells read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deeprec.ablation.sharing import share, share_reading, stage_folder
from deeprec.ablation.table import COLUMNS, AblationRow, Spread, cells, command_words, mean_differences
from deeprec.ablation.variants import VARIANTS, apply, choose_variants, parse_seeds, parse_variant
from deeprec.config import RunConfig, load_config, override_config
from deeprec.disk import append_jsonl, read_jsonl
from deeprec.errors import ConfigError, EvaluationError
from deeprec.evaluation.bootstrap import Difference
from deeprec.run import Run

BY_NAME = {variant.name: variant for variant in VARIANTS}


def test_the_issue_s_ablations_are_there_and_all_change_the_default_run() -> None:
    assert list(BY_NAME) == [
        "full", "single-turn", "no-stage-1", "no-diversity", "no-invocation", "no-similarity", "no-rank",
        "no-selection", "published-fusion",
    ]  # fmt: skip
    base = RunConfig()
    for variant in VARIANTS:
        assert (apply(base, variant) == base) is (variant.name == "full")


def test_only_the_named_reward_part_is_taken_away() -> None:
    base = load_config(overrides=["rl.recommendation.weights={list_format = 1.0, rank = 0.2, pool = 0.5}"])
    lighter = apply(base, BY_NAME["no-rank"])
    assert lighter is not None
    assert lighter.rl.recommendation.weights == {"list_format": 1.0, "pool": 0.5}
    assert lighter.rl.cold_start == base.rl.cold_start
    assert apply(base, BY_NAME["no-similarity"]) is None  # this run doesn't weigh it
    assert apply(load_config(overrides=["rollout.max_retrievals=1"]), BY_NAME["single-turn"]) is None


def test_a_variant_that_leaves_no_reward_is_refused() -> None:
    base = load_config(overrides=["rl.recommendation.weights={rank = 1.0}"])
    with pytest.raises(ConfigError, match=r"variant 'no-rank': rl\.recommendation\.weights: no reward part"):
        apply(base, BY_NAME["no-rank"])


def test_published_fusion_needs_our_network() -> None:
    with pytest.raises(ConfigError, match=r"this run's trm\.kind is 'item-knn'"):
        apply(load_config(overrides=["trm.kind=item-knn"]), BY_NAME["published-fusion"])


def test_own_variants() -> None:
    own = parse_variant("hot:rollout.temperature=1.2,rl.recommendation.weights={hit = 1.0, rank = 0.2}")
    assert own.overrides == ("rollout.temperature=1.2", "rl.recommendation.weights={hit = 1.0, rank = 0.2}")
    config = apply(RunConfig(), own)
    assert config is not None
    assert config.rollout.temperature == 1.2
    assert config.rl.recommendation.weights == {"hit": 1.0, "rank": 0.2}
    assert [variant.name for variant in choose_variants(["no-rank"], [own])] == ["full", "no-rank", "hot"]
    assert [variant.name for variant in choose_variants([], [own])] == ["full", "hot"]
    assert choose_variants([], []) == list(VARIANTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hot", "expected NAME:key=value"),
        ("hot:", "expected NAME:key=value"),
        ("hot:rollout.temperature", "expected NAME:key=value"),
        ("Hot/1:seed=1", "may hold a-z"),
        ("no-rank:seed=1", "exists already"),
    ],
)
def test_malformed_variants(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_variant(text)


@pytest.mark.parametrize(
    "key", ["data.name", "data.synthetic.users", "evaluation.max_users", "seed", "trm.seed"]
)
def test_what_sub_runs_share_can_t_be_varied(key: str) -> None:
    with pytest.raises(ConfigError, match=f"variant 'mine' sets '{key}', which all sub-runs share"):
        apply(RunConfig(), parse_variant(f"mine:{key}=1"))


def test_unknown_names_and_keys_name_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown variant 'no-rnak'; did you mean 'no-rank'\? known: full,"
    ):
        choose_variants(["no-rnak"], [])
    with pytest.raises(ConfigError, match=r"variant 'mine': .*did you mean 'rl\.learning_rate'"):
        apply(RunConfig(), parse_variant("mine:rl.learnin_rate=1"))
    own = parse_variant("mine:rl.learning_rate=1e-3")
    with pytest.raises(ConfigError, match="two --variant have the same name"):
        choose_variants([], [own, own])


@pytest.mark.parametrize("text", ["", "0,", "1.5", "-1", "x", "4294967296", "0,0"])
def test_seeds_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--seeds {text}"):
        parse_seeds(text)
    assert parse_seeds("3, 0") == [3, 0]


def test_a_stage_is_taken_only_from_a_run_with_the_same_inputs(tmp_path: Path) -> None:
    donor, other = (Run.create(tmp_path / name, RunConfig()) for name in ("donor", "other"))
    stage_folder(donor, "warm_start").mkdir(parents=True)
    (stage_folder(donor, "warm_start") / "weights").write_text("0.5")
    donor.policy("reading").mkdir()
    (donor.policy("reading") / "weights").write_text("0.4")
    append_jsonl(donor.metrics, {"stage": "warm_start:reading", "epoch": 1})
    append_jsonl(donor.metrics, {"stage": "warm_start", "step": 1})
    append_jsonl(donor.metrics, {"stage": "cold_start", "step": 1})
    donor.finish("warm_start", "abc", 2.0, parameters=7)

    share(other, "warm_start", "abd", [donor])
    assert other.finished() == {}
    share(other, "warm_start", "abc", [other, donor])
    copied = stage_folder(other, "warm_start") / "weights"
    assert copied.samefile(stage_folder(donor, "warm_start") / "weights")
    assert (other.policy("reading") / "weights").read_text() == "0.4"  # what reranks belongs to it
    record = other.finished()["warm_start"]
    # The logs are those of each run, and the seal is taken of the whole record.
    own = {"logged", "seal"}
    given = {name: value for name, value in donor.finished()["warm_start"].items() if name not in own}
    assert {name: value for name, value in record.items() if name not in own} == {
        **given,
        "shared": "../donor",
    }
    assert read_jsonl(other.metrics) == [
        {"stage": "warm_start", "step": 1},
        {"stage": "warm_start:reading", "epoch": 1},
    ]


def test_what_was_read_is_taken_from_a_run_of_the_same_seed(tmp_path: Path) -> None:
    reads = ["warm_start.reading_epochs=1"]
    first, other, again = (
        Run.create(tmp_path / name, override_config(RunConfig(), [*reads, f"seed={seed}"]))
        for name, seed in (("first", 0), ("other", 1), ("again", 0))
    )
    first.policy("reading").mkdir(parents=True)
    (first.policy("reading") / "inputs.txt").write_text("abc")
    for run in (other, again):
        share_reading(run, [run, first])
    assert not other.policy("reading").exists()
    assert (again.policy("reading") / "inputs.txt").read_text() == "abc"


def test_cells() -> None:
    worse = Difference(mean=-0.01, low=-0.02, high=-0.005, relative=-0.1)
    row = AblationRow(
        variant="no-rank",
        taken_away="Rank.",
        method="recommendation",
        seeds=(0, 1),
        figures={
            "ndcg@10": Spread.of([0.1, 0.2]),
            "recall@10": Spread.of([0.3]),
            "validity": Spread.of([1.0]),
        },
        differences={"full": {"ndcg@10": worse}},
        dependence=0.5,
    )
    shown = dict(zip(COLUMNS, cells(row), strict=True))
    assert shown["NDCG@10"] == "0.1500 ± 0.0707"  # |0.2 - 0.1| / sqrt(2)
    assert shown["Recall@10"] == "0.3000"
    assert shown["NDCG@10 - full"] == "-0.0100 [-0.0200, -0.0050]"
    assert (shown["NDCG@10 - trm"], shown["diversity"], shown["retrievals"]) == (None, None, None)
    assert (shown["seeds"], shown["valid"], shown["dependence"]) == ("0, 1", 1.0, 0.5)
    failed = AblationRow(variant="a", taken_away="b", method="c", seeds=(), failed={0: "collapsed"})
    assert cells(failed)[:3] == ("a", "failed", None)


def test_differences_are_of_each_user_s_mean_over_seeds() -> None:
    # Two users; NDCG differs by (+0.2, 0) and (0, +0.4) in the two seeds: (0.1, 0.2) a user.
    seeds = [
        (np.array([[0.5, 1.0], [0.0, 0.0]]), np.array([[0.3, 1.0], [0.0, 0.0]])),
        (np.array([[0.3, 1.0], [0.4, 1.0]]), np.array([[0.3, 1.0], [0.0, 1.0]])),
    ]
    found = mean_differences(seeds, 200)
    assert found["ndcg@10"].mean == pytest.approx(0.15)
    assert found["ndcg@10"].low == pytest.approx(0.1)  # both draws the first user
    assert found["ndcg@10"].high == pytest.approx(0.2)
    assert found["recall@10"].mean == 0.0
    with pytest.raises(EvaluationError, match="not the same users"):
        mean_differences([(np.zeros((2, 2)), np.zeros((3, 2)))], 10)


def test_command_words() -> None:
    words = command_words({"only": ["no-rank"], "variant": None, "seeds": "0", "set": ["a=1", "b={c = 1}"]})
    assert words == "--only no-rank --seeds 0 --set a=1 --set 'b={c = 1}'"
