"""Settings under former names: refused with today's name, read from older run folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeprec.config import load_config
from deeprec.errors import ConfigError, RunError
from deeprec.run import Run


@pytest.mark.parametrize(
    "former", ["rollout.answer=written", "inference.ranking=score", "rollout.reranker_history=5"]
)
def test_a_former_name_is_refused_with_the_new_one(former: str) -> None:
    with pytest.raises(ConfigError, match=r"is gone: set rollout\.list"):
        load_config(overrides=[former])


def older(folder: Path, rollout: str, inference: str = "") -> Path:
    folder.mkdir()
    (folder / "run.toml").write_text(f"[rollout]\n{rollout}\n[inference]\n{inference}\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("rollout", "inference", "found"),
    [
        ('answer = "written"\nreranker_weight = 1.0\nreranker_history = 50', 'ranking = "generate"', "free"),
        ('answer = "retrieved"', 'ranking = "generate"', "retrieved"),
        ('answer = "written"', 'ranking = "retrieved"', "retrieved"),
        ("", 'ranking = "generate"', "free"),
        ("", "", "free"),
        ('list = "masked"', "", "masked"),
    ],
)
def test_older_runs_open(tmp_path: Path, rollout: str, inference: str, found: str) -> None:
    assert Run.open(older(tmp_path / "run", rollout, inference)).config.rollout.list == found


@pytest.mark.parametrize(("rollout", "inference"), [('answer = "reranked"', ""), ("", 'ranking = "score"')])
def test_a_run_whose_lists_are_gone_says_what_makes_it_again(
    tmp_path: Path, rollout: str, inference: str
) -> None:
    with pytest.raises(RunError, match=r"which is gone.*deeprec quickstart"):
        Run.open(older(tmp_path / "run", rollout, inference))
