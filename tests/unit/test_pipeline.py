"""Which methods a run can evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeprec.config import load_config
from deeprec.errors import ConfigError, EvaluationError, RunError
from deeprec.methods import known_methods
from deeprec.pipeline import build_recommenders, run_pipeline, trained_methods
from deeprec.run import Run

REST = ("trm-refit", "warm_start", "cold_start", "recommendation")
EVERYWHERE = ("popularity", "trm", "trm-reranked", *REST)


def test_the_oracle_is_known_where_the_data_are_simulated() -> None:
    assert known_methods(load_config("synthetic")) == (*EVERYWHERE, "oracle")
    assert known_methods(load_config("ml-100k")) == EVERYWHERE
    dated = load_config("ml-100k", overrides=['rollout.prompt_fields=["date"]'])
    assert known_methods(dated) == ("popularity", "trm", "trm-dated", "trm-reranked", *REST)
    games = known_methods(load_config("amazon-games-2018"))
    assert games == ("popularity", "trm", "trm-dated", "trm-reranked", *REST)


def test_what_is_not_known_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", load_config("ml-100k"))
    known = r"unknown method 'oracle'; known: popularity, .*recommendation, .*recommendation@pseudonyms"
    with pytest.raises(EvaluationError, match=known):
        build_recommenders(run, ["trm", "oracle"])
    with pytest.raises(RunError):  # known, but there are no data yet
        build_recommenders(run, ["trm"])


def test_what_is_asked_for_is_built_or_refused_with_its_command(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", load_config("ml-100k"))
    for stage in ("data", "trm", "warm_start", "rival:als"):
        run.finish(stage, "a", 1.0)
    assert trained_methods(run) == ["popularity", "trm", "trm-reranked", "warm_start", "als"]
    parts = (None, None)
    for method, command in {
        "trm-refit": "deeprec trm refit",
        "cold_start": "deeprec train --stage cold_start",
        "recommendation": "deeprec train --stage cold_start",  # what it starts from comes first
        "cold_start@pseudonyms": "deeprec train --stage cold_start",
        "ease": "deeprec rival fit ease",
    }.items():
        with pytest.raises(RunError, match=f"run `{command} --run {run.folder}`"):
            build_recommenders(run, ["trm", method], parts)  # type: ignore[arg-type]


def test_methods_that_the_settings_name_are_evaluated_or_refused(tmp_path: Path) -> None:
    named = load_config("ml-100k", overrides=['evaluation.methods=["trm", "recommendation"]'])
    run = Run.create(tmp_path / "run", named)
    for stage in ("data", "trm"):
        run.finish(stage, "a", 1.0)
    assert trained_methods(run) == ["trm", "recommendation"]
    with pytest.raises(RunError, match="stage 'warm_start' has not been run; run `deeprec policy init"):
        build_recommenders(run, trained_methods(run), (None, None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        (
            "rl.recommendation.weights={hitt = 1.0}",
            ConfigError,
            "unknown reward part 'hitt'; did you mean 'hit'",
        ),
        ('rl.cold_start.weights={"nowhere:part" = 1.0}', ConfigError, "can't import 'nowhere'"),
        ("data.name=nowhere:read", ConfigError, "can't import 'nowhere'"),
        ("trm.kind=nowhere:build", ConfigError, "can't import 'nowhere'"),
        ("rollout.template=nowhere:PROMPT", ConfigError, "can't import 'nowhere'"),
        ("engine.kind=nowhere:build", ConfigError, "can't import 'nowhere'"),
        ("rollout.temperature=0", ConfigError, "training must sample"),
        ('evaluation.methods=["trm", "recomendation"]', EvaluationError, "did you mean 'recommendation'"),
    ],
)
def test_what_a_later_stage_would_refuse_is_said_before_the_first(
    tmp_path: Path, setting: str, error: type[Exception], message: str
) -> None:
    run = Run.create(tmp_path / "run", load_config("ci", overrides=[setting]))
    with pytest.raises(error, match=message):
        run_pipeline(run)
    assert run.finished() == {}
