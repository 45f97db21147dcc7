"""A finished run up to the warm start, as small as it can be and still speak the format."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deeprec.config import load_config, override_config
from deeprec.data.format import read_dataset
from deeprec.data.stage import run_data
from deeprec.run import Run
from deeprec.trm.stage import load_trm, run_trm

SETTINGS = (
    "data.synthetic.users=60",
    "data.synthetic.items=24",
    "data.synthetic.interactions_per_user=12",
    "trm.width=16",
    "trm.text_dim=16",
    "trm.epochs=2",
    "trm.preference_steps=60",
    "policy.width=32",
    "policy.heads=2",
    "policy.key_value_heads=1",
    "policy.inner=64",
    "policy.pieces=400",
    "policy.context=512",
    "warm_start.text_epochs=0",
    "warm_start.script_steps=300",
    "warm_start.trajectories_per_step=8",
    "warm_start.learning_rate=1e-2",
    "rollout.history=3",
    "rollout.retrieved=3",
    "rollout.recommended=3",
    "rollout.segment_tokens=40",
    "rollout.temperature=0.9",
    "rollout.response_tokens=240",
    "selection.stage_one_share=0.5",
    "rl.collapse={validity=0.05,entropy=0.01,repetition=0.5}",  # begins however little it can say yet
    "rl.users_per_step=4",
    "rl.rollouts_per_user=4",
    "rl.trajectories_per_pass=8",
    "rl.learning_rate=1e-3",
    "rl.save_every=2",
    "rl.cold_start.steps=4",
    "rl.recommendation.steps=2",
)

CopyRun = Callable[..., Run]


@pytest.fixture(scope="session")
def warm_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the run; tests work on copies of it."""
    from deeprec.rl.warm_start import run_warm_start

    run = Run.create(tmp_path_factory.mktemp("runs") / "warm", load_config(overrides=SETTINGS))
    dataset = run_data(run)
    run_warm_start(run, dataset, run_trm(run, dataset))
    return run.folder


@pytest.fixture
def copy_run(warm_run: Path, tmp_path: Path) -> CopyRun:
    """Copies of the warm-started run under a name, with settings overridden."""

    def copy(name: str = "run", *overrides: str) -> Run:
        shutil.copytree(warm_run, tmp_path / name)
        run = Run.open(tmp_path / name)
        return Run.create(run.folder, override_config(run.config, overrides))

    return copy


@pytest.fixture
def load_parts() -> Callable[[Run], tuple]:
    """Data set and TRM of a run."""

    def load(run: Run) -> tuple:
        dataset = read_dataset(run.data)
        return dataset, load_trm(run, dataset)

    return load
