"""The evaluation stage: what it leaves in a run, and when it runs again."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hand_made import Policy, PopularityTRM, evaluated_run

from deeprec.data.stage import load_data
from deeprec.disk import read_jsonl
from deeprec.errors import EvaluationError
from deeprec.evaluation.stage import load_evaluation, run_evaluation
from deeprec.evaluation.summary import EvaluationSummary, read_summary
from deeprec.run import Run
from deeprec.trm.recommender import TRMRecommender


def test_what_is_written_can_be_read_again(evaluated: tuple[Run, EvaluationSummary]) -> None:
    run, summary = evaluated
    assert load_evaluation(run) == summary
    assert run.finished()["evaluation"]["targets"] == summary.targets
    frame = pl.read_parquet(run.report / "per_user.parquet")
    assert frame.height == 3 * 30
    for name, method in summary.methods.items():
        own = frame.filter(pl.col("method") == name)
        for metric in ("ndcg@10", "mrr"):
            assert own[metric].mean() == pytest.approx(method.metrics[metric].mean)
    assert frame.filter(pl.col("method") == "trm")["validity"].null_count() == 30


def test_rewards_of_the_stages(evaluated: tuple[Run, EvaluationSummary]) -> None:
    _, summary = evaluated
    good, poor = summary.method("recommendation"), summary.method("warm_start")
    assert good.metrics["reward/hit"].mean == 1.0
    assert good.metrics["reward/rank"].mean == pytest.approx(2.0)
    # Two orthogonal preferences: 0.5 for the second retrieval, 0.2 for diversity.
    assert good.metrics["reward/cold_start"].mean == pytest.approx(0.7)
    parts = [good.metrics[f"reward/{part}"].mean for part in ("list_format", "hit", "rank", "similarity")]
    assert good.metrics["reward/recommendation"].mean == pytest.approx(sum(parts))
    assert poor.metrics["validity"].mean == pytest.approx(20 / 30)
    assert good.differences["warm_start"]["reward/recommendation"].verdict == "ahead"
    assert "reward/hit" not in good.differences["trm"]


def test_trajectories_are_of_the_same_users_for_every_policy(
    evaluated: tuple[Run, EvaluationSummary],
) -> None:
    run, _ = evaluated
    records = read_jsonl(run.report / "trajectories.jsonl")
    users = {
        name: [r["user_id"] for r in records if r["method"] == name]
        for name in ("warm_start", "recommendation")
    }
    assert len(records) == 2 * run.config.evaluation.shown_trajectories
    assert users["warm_start"] == users["recommendation"]
    record = next(r for r in records if r["method"] == "recommendation")
    assert record["labels"][0] == record["target"]
    assert record["labels"][-1] is None


def test_the_stage_runs_again_only_when_something_changed(tmp_path: Path) -> None:
    run, before = evaluated_run(tmp_path / "run")
    dataset = load_data(run)
    trm = PopularityTRM(dataset)
    nobody = {name: Policy(lambda e: pytest.fail("evaluated again"), name) for name in before.methods}
    assert run_evaluation(run, dataset, trm, nobody) == before  # type: ignore[arg-type]
    run.finish("trm", "other inputs", 1.0)
    recommenders = {"trm": TRMRecommender(trm, dataset)}
    after = run_evaluation(run, dataset, trm, recommenders)  # type: ignore[arg-type]
    assert list(after.methods) == ["trm"]
    other = run_evaluation(run, dataset, trm, recommenders, "validation")  # type: ignore[arg-type]
    assert other.targets != after.targets
    assert load_evaluation(run) == after
    assert load_evaluation(run, "validation") == other


def test_an_evaluation_of_an_earlier_version_is_made_again_and_never_read(tmp_path: Path) -> None:
    run, before = evaluated_run(tmp_path / "run")
    file = run.report / "evaluation.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    del values["format"]
    file.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(
        EvaluationError, match=r"written in format 2, this version reads 3, .*evaluate` again"
    ):
        load_evaluation(run)
    dataset = load_data(run)
    trm = PopularityTRM(dataset)
    after = run_evaluation(run, dataset, trm, {"trm": TRMRecommender(trm, dataset)})  # type: ignore[arg-type]
    assert load_evaluation(run) == after
    assert after.format == before.format == 3
    file.write_text("{", encoding="utf-8")
    with pytest.raises(EvaluationError, match="not a usable evaluation"):
        run_evaluation(run, dataset, trm, {"trm": TRMRecommender(trm, dataset)})  # type: ignore[arg-type]


def test_slices_are_written_user_by_user(evaluated: tuple[Run, EvaluationSummary]) -> None:
    run, summary = evaluated
    frame = pl.read_parquet(run.report / "per_user.parquet").filter(pl.col("method") == "trm")
    slices = pl.read_parquet(run.report / "slices.parquet")
    for part in summary.slices:
        inside = frame.filter(pl.col("slices").list.contains(part.name))
        assert inside.height == part.users
        if part.users:
            mean = part.metrics["trm"]["ndcg@10"].mean
            assert inside["ndcg@10"].mean() == pytest.approx(mean)
            row = slices.filter(
                (pl.col("slice") == part.name) & (pl.col("method") == "trm") & (pl.col("metric") == "ndcg@10")
            )
            assert row["mean"].to_list() == [mean]
    poor = pl.read_parquet(run.report / "per_user.parquet").filter(pl.col("method") == "warm_start")
    assert poor["novelty"].null_count() == 10  # an empty list has none, and a file says null


def test_what_is_refused(tmp_path: Path, evaluated: tuple[Run, EvaluationSummary]) -> None:
    run, summary = evaluated
    with pytest.raises(EvaluationError, match="not evaluated on 'validation' yet; run `deeprec evaluate"):
        load_evaluation(run, "validation")
    with pytest.raises(EvaluationError, match="'rival' was not evaluated; evaluated: trm"):
        summary.method("rival")
    broken = tmp_path / "evaluation.json"
    broken.write_text(json.dumps({"dataset": 3}))
    with pytest.raises(EvaluationError, match="not a usable evaluation"):
        read_summary(broken)
