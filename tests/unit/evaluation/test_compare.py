"""Finished evaluations beside each other, and every reason to refuse that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hand_made import ByIndex, Policy, build_dataset, make_trajectory

from deeprec.config import EvaluationConfig
from deeprec.data.dataset import Dataset, Protocol
from deeprec.errors import EvaluationError
from deeprec.evaluation.compare import compare_evaluations, load_evaluated, write_comparison
from deeprec.evaluation.evaluate import evaluate
from deeprec.evaluation.outputs import PER_USER, SUMMARY, write_outputs
from deeprec.evaluation.summary import read_summary
from deeprec.trm.recommender import TRMRecommender
from deeprec.types import Example, StopReason, Trajectory


def mixed(example: Example) -> Trajectory:
    """Even users: the target first. Odd ones: no valid list."""
    if int(example.user_id[1:]) % 2 == 0:
        return make_trajectory(example, ranking=(example.target, 30))
    return make_trajectory(example, ranking=(31,), stop_reason=StopReason.NO_LIST, format_errors=("no list",))


def write(
    folder: Path,
    dataset: Dataset | None = None,
    names: tuple[str, ...] = ("trm", "recommendation"),
    **changes: Any,
) -> Path:
    """An evaluation of the hand-made users in `folder`."""
    dataset = dataset or build_dataset()
    made: dict[str, Callable[[], Any]] = {
        "trm": lambda: TRMRecommender(ByIndex(), dataset),
        "recommendation": lambda: Policy(mixed),
        "best": lambda: Policy(lambda e: make_trajectory(e, ranking=(e.target,)), "best"),
    }
    config = EvaluationConfig(bootstrap=50, max_users=changes.pop("max_users", None))
    recommenders = [made[name]() for name in names]
    write_outputs(
        folder, evaluate(recommenders, dataset, changes.pop("part", "test"), config, 0, **changes), dataset
    )
    return folder


def test_the_same_users_method_by_method(tmp_path: Path) -> None:
    one = write(tmp_path / "one")
    two = write(tmp_path / "two", names=("trm", "best"))
    summary = compare_evaluations(load_evaluated([one, two / PER_USER]))
    assert list(summary.methods) == ["one: trm", "one: recommendation", "two: trm", "two: best"]
    assert summary.methods["two: trm"].differences["one: trm"]["ndcg@10"].mean == 0.0
    assert summary.methods["two: best"].differences == {}  # no method of this name in the first
    alone = read_summary(one / SUMMARY)
    for method in alone.methods.values():
        again = summary.methods[f"one: {method.name}"]
        assert again.metrics["mrr"].mean == pytest.approx(method.metrics["mrr"].mean)
        assert again.metrics["novelty"].users == method.metrics["novelty"].users
        assert again.coverage == method.coverage
    assert [(part.name, part.users) for part in summary.slices] == [
        (part.name, part.users) for part in alone.slices
    ]
    assert (summary.users, summary.missing) == (12, {})


def test_everything_against_one_method(tmp_path: Path) -> None:
    places = [write(tmp_path / "one"), write(tmp_path / "two", names=("best",))]
    summary = compare_evaluations(load_evaluated(places), against="trm")
    gain = summary.methods["two: best"].differences["one: trm"]["recall@1"]
    assert gain.mean == pytest.approx(11 / 12)
    tested = summary.methods["two: best"].differences["one: trm"]["ndcg@10"]
    assert tested.p_value is not None
    assert tested.holm_p is not None
    assert tested.p_value < 0.01  # twelve users: exact, and one way for nearly every sign
    assert summary.comparisons == 4
    write_comparison(tmp_path / "both", summary)
    assert read_summary(tmp_path / "both" / "comparison.json") == summary
    assert "two: best" in (tmp_path / "both" / "table.md").read_text(encoding="utf-8")
    with pytest.raises(EvaluationError, match="--against ease: not evaluated; evaluated: one: trm"):
        compare_evaluations(load_evaluated(places), against="ease")
    with pytest.raises(
        EvaluationError, match=r"shares no method with the others; .*--against, one of: one: trm"
    ):
        compare_evaluations(load_evaluated(places))


def test_users_that_one_lacks_are_listed(tmp_path: Path) -> None:
    places = [write(tmp_path / "all"), write(tmp_path / "some", max_users=7)]
    summary = compare_evaluations(load_evaluated(places))
    kept = {f"u{number:02}" for number in range(12)} - set(summary.missing["some"])
    assert (summary.users, len(summary.missing["some"]), summary.sampled) == (7, 5, True)
    assert "all" not in summary.missing
    assert summary.targets == read_summary(places[1] / SUMMARY).targets
    rows = pl.read_parquet(places[0] / PER_USER).filter(
        (pl.col("method") == "trm") & pl.col("user_id").is_in(sorted(kept))
    )
    assert summary.methods["all: trm"].metrics["mrr"].mean == pytest.approx(rows["mrr"].mean())
    nobody = write(tmp_path / "nobody", users=summary.missing["some"])
    with pytest.raises(EvaluationError, match="have no user in common"):
        compare_evaluations(load_evaluated([places[1], nobody]))


def other_targets() -> Dataset:
    dataset = build_dataset()
    moved = dataset.interactions.with_columns(
        item_index=pl.when(pl.col("part") == "test").then(pl.lit(39, pl.Int32)).otherwise("item_index")
    )
    return replace(dataset, interactions=moved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda: {"dataset": other_targets()},
            r"not the same targets: .*one has '\w{16}', .*two has '\w{16}'",
        ),
        (lambda: {"dataset": replace(build_dataset(), name="other")}, "data set: .*'hand-made', .*'other'"),
        (
            lambda: {"dataset": replace(build_dataset(), protocol=Protocol(cuts=(1.0, 2.0, 3.0)))},
            "not the same protocol: .*one has 'leave-one-out.*two has 'global time split",
        ),
        (lambda: {"part": "validation"}, "not the same part: .*'test', .*'validation'"),
        (lambda: {"k": 5}, r"not the same length of lists \(k\): .*'10', .*'5'"),
    ],
)
def test_what_can_not_be_compared(tmp_path: Path, change: Callable[[], dict[str, Any]], message: str) -> None:
    changes = change()
    if changes.get("k") == 5:
        one = write(tmp_path / "one")
        two = write(tmp_path / "two")
        text = (two / SUMMARY).read_text(encoding="utf-8")
        (two / SUMMARY).write_text(text.replace('"k": 10', '"k": 5'), encoding="utf-8")
    else:
        one, two = write(tmp_path / "one"), write(tmp_path / "two", **changes)
    with pytest.raises(EvaluationError, match=message):
        compare_evaluations(load_evaluated([one, two]))


def test_made_up_titles_compare_with_the_real_ones(tmp_path: Path) -> None:
    renamed = replace(build_dataset(), protocol=Protocol(pseudonyms=True))
    summary = compare_evaluations(
        load_evaluated([write(tmp_path / "one"), write(tmp_path / "two", dataset=renamed)])
    )
    assert summary.protocol == f"{Protocol()}, titles replaced by pseudonyms in two"


def test_columns_that_were_measured_otherwise_are_left_out(tmp_path: Path) -> None:
    dataset = build_dataset()
    lead = dataset.interactions.with_columns(
        part=pl.when((pl.col("part") == "fit") & (pl.col("timestamp") < 2))
        .then(pl.lit("lead"))
        .otherwise("part")
    )
    places = [write(tmp_path / "one"), write(tmp_path / "two", dataset=replace(dataset, interactions=lead))]
    summary = compare_evaluations(load_evaluated(places))
    assert summary.left_out == ["novelty", "popularity", "history_popularity"]
    assert {"novelty", "popularity_lift"}.isdisjoint(summary.methods["one: trm"].metrics)
    assert "diversity" in summary.methods["one: trm"].metrics


def test_places_and_labels(tmp_path: Path) -> None:
    write(tmp_path / "a" / "run" / "report")
    write(tmp_path / "b" / "run" / "report")
    found = load_evaluated([tmp_path / "a" / "run", tmp_path / "b" / "run" / "report" / SUMMARY])
    assert [entry.label for entry in found] == ["a/run", "b/run"]
    with pytest.raises(EvaluationError, match="named twice"):
        load_evaluated([tmp_path / "a" / "run", tmp_path / "a" / "run" / "report"])
    with pytest.raises(EvaluationError, match=r"no evaluation\.json here"):
        load_evaluated([tmp_path / "a"])
    with pytest.raises(EvaluationError, match="one evaluation alone"):
        compare_evaluations(found[:1])


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two", names=("trm",))
    shutil.copy(two / PER_USER, one / PER_USER)
    with pytest.raises(EvaluationError, match="they are not of one evaluation"):
        load_evaluated([one, two])
    (one / PER_USER).write_bytes(b"nothing")
    with pytest.raises(EvaluationError, match="can't be read"):
        load_evaluated([one, two])
    (one / PER_USER).unlink()
    with pytest.raises(EvaluationError, match=r"evaluation\.json without per_user\.parquet"):
        load_evaluated([one, two])


def test_targets_that_were_changed_behind_the_hash(tmp_path: Path) -> None:
    places = [write(tmp_path / "one"), write(tmp_path / "two")]
    rows = pl.read_parquet(places[1] / PER_USER)
    rows.with_columns(
        target=pl.when(pl.col("user_id") == "u04").then(pl.lit("i40")).otherwise("target")
    ).write_parquet(places[1] / PER_USER)
    with pytest.raises(EvaluationError, match=r"user 'u04' has another one in .*two than in .*one"):
        compare_evaluations(load_evaluated(places))
