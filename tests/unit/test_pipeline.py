"""Which methods a run can evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeprec.config import load_config
from deeprec.errors import EvaluationError, RunError
from deeprec.pipeline import build_recommenders, known_methods
from deeprec.run import Run

EVERYWHERE = ("popularity", "trm", "trm-refit", "warm_start", "cold_start", "recommendation")


def test_the_oracle_is_known_where_the_data_are_simulated() -> None:
    assert known_methods(load_config("synthetic")) == (*EVERYWHERE, "oracle")
    assert known_methods(load_config("ml-100k")) == EVERYWHERE
    dated = load_config("ml-100k", overrides=['rollout.prompt_fields=["date"]'])
    assert known_methods(dated) == (*EVERYWHERE, "trm-dated")
    assert known_methods(load_config("amazon-games-2018")) == (*EVERYWHERE, "trm-dated", "trm-reranked")


def test_what_is_not_known_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", load_config("ml-100k"))
    known = r"unknown method 'oracle'; known: popularity, .*recommendation, .*recommendation@pseudonyms"
    with pytest.raises(EvaluationError, match=known):
        build_recommenders(run, ["trm", "oracle"])
    with pytest.raises(RunError):  # known, but there are no data yet
        build_recommenders(run, ["trm"])
