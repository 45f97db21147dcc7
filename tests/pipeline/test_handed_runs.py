"""Inputs that once broke a stage or the service, as they were handed in; see `tests/unit/data/test_handed_cases.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deeprec.config import DataConfig, PolicyConfig
from deeprec.data.prepare import prepare
from deeprec.policy.loading import load_policy
from deeprec.policy.titles import lost_titles

pytestmark = pytest.mark.slow
PROGRAM = [sys.executable, "-c", "from deeprec.cli import main; main()"]
FIT = ("trm.epochs=2", "trm.preference_steps=10", "trm.tokens_per_batch=512")


def said(*words: str | Path, status: int = 0) -> str:
    """What a command prints; it ends with `status`."""
    command = [*PROGRAM, *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == status, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout if status == 0 else done.stderr


def test_heavy_user_kills_evaluation(cases: Path, tmp_path: Path) -> None:
    """One of 60 users has taken 56 of 60 items: four or five are left, and everybody else is evaluated."""
    run = ("--run", tmp_path / "run")
    settings = [word for setting in FIT for word in ("--set", setting)]
    said("data", "prepare", "table", "--source", cases / "heavy-user-kills-evaluation" / "heavy.csv", *run)
    said("trm", "fit", *run, *settings)
    said("rival", "fit", "ease", *run)
    found = json.loads(said("evaluate", "--methods", "trm,popularity,ease", *run, "--json"))
    assert found["users"] == 60
    assert len(found["few_left"]) == 1


@pytest.fixture(scope="module")
def dated_run(cases: Path, tiny_settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose prompt shows dates."""
    folder, run = cases / "service-ms-timestamp", tmp_path_factory.mktemp("dated") / "run"
    words = ("quickstart", "--preset", "ci", "--config", tiny_settings, "--data", "table")
    said(*words, "--source", folder / "s.csv", "--run", run, "--set", 'rollout.prompt_fields=["date"]')
    return run


def test_refused_setting_sticks(dated_run: Path) -> None:
    before = (dated_run / "run.toml").read_text()
    train = ("train", "--stage", "cold_start", "--run", dated_run)
    assert "training must sample" in said(*train, "--set", "rollout.temperature=0", status=2)
    assert (dated_run / "run.toml").read_text() == before
    said(*train)


def test_service_ms_timestamp(dated_run: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEEPREC_")}
    command = [*PROGRAM, "serve", str(dated_run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as service:
        try:
            assert service.stdout is not None
            with httpx.Client(base_url=service.stdout.readline().split()[-1], timeout=60) as client:
                sent = {"history": [{"item_id": "i1", "timestamp": 1600000000000}]}
                refused = client.put("/v1/users/x/history", json=sent)
                assert refused.status_code == 422
                assert "history.0.timestamp" in refused.text
                assert "milliseconds" in refused.text
                sent["history"][0]["timestamp"] = 1600000000
                assert client.put("/v1/users/x/history", json=sent).status_code == 200
                answer = client.post("/v1/recommendations", json={"user_id": "x", "k": 2}).json()
                assert len(answer["items"]) == 2
        finally:
            service.terminate()


@pytest.mark.parametrize("tokenizer", ["qwennfc", "lower"])
def test_tokenizer_cannot_write_titles(cases: Path, tokenizer: str) -> None:
    folder = cases / "tokenizer-cannot-write-titles"
    config = DataConfig(name="table", source=str(folder / "odd.csv"), min_user_interactions=1, rl_targets=0)
    codec = load_policy(str(folder / tokenizer), PolicyConfig()).codec
    assert lost_titles(codec, prepare(config, seed=0).catalog) == []
