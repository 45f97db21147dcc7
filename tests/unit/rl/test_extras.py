"""Without the extra `train` nobody waits for stages that come before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeprec.config import load_config
from deeprec.errors import MissingExtraError
from deeprec.pipeline import run_pipeline
from deeprec.rl import extras
from deeprec.run import Run


@pytest.mark.parametrize("missing", ["trl", "accelerate", "datasets", "tensorboard"])
def test_a_run_says_so_before_its_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == missing else object())
    run = Run.create(tmp_path / "run", load_config("ci"))
    with pytest.raises(MissingExtraError, match=r"\[train\]"):
        run_pipeline(run, announce=lambda stage: pytest.fail(f"{stage} has begun"))
    assert run.finished() == {}
