"""What fits on which machines, and what is said where it doesn't."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from deeprec.config import load_config
from deeprec.errors import ClusterError, ConfigError, MissingExtraError, TrainingError
from deeprec.launch import check
from deeprec.launch.machines import Machines
from deeprec.launch.openrlhf import Places, openrlhf_command
from deeprec.launch.submit import submit_job

SEVEN = 7_615_616_512
PLACES = Places(Path("policy"), Path("out"), Path("out/checkpoints"))


def test_zero_2_where_it_fits_and_3_where_it_must() -> None:
    assert Machines(2, 8, 80.0).zero_stage(SEVEN) == 2  # 15.2 x 3 + 91.4 / 16 = 51.4 GB of 64
    assert Machines(2, 8, 40.0).zero_stage(SEVEN) == 3  # 15.2 + 121.8 / 16 = 22.8 GB of 32


@pytest.mark.parametrize(
    ("machines", "said"),
    [
        (
            Machines(1, 1, 80.0),
            r"--nodes 1 --gpus 1: .*7.6e9 .*takes 137 GB of each GPU, and 64 of 80 .*; 3 of them",
        ),
        (Machines(1, 8, 12.0), "no number of them fits: take GPUs of 20 GB or more"),
    ],
)
def test_machines_that_are_too_few_are_told_what_fits(machines: Machines, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        machines.zero_stage(SEVEN)


def test_an_update_that_can_t_be_shared_out_is_told_what_can() -> None:
    config = load_config("qwen2.5-7b")
    with pytest.raises(
        ConfigError, match="an update of 512 trajectories can't be shared by 12 GPUs; take 8 of them"
    ):
        openrlhf_command(config, "cold_start", PLACES, Machines(3, 4, 80.0), 2)


def machine(gpus: int, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": 8.0, **({"GPU": float(gpus)} if gpus else {})}}


def test_a_cluster_is_large_enough_or_told_what_fits() -> None:
    check.require_gpus([machine(8), machine(8), machine(0)], 2, 8)
    with pytest.raises(ClusterError, match=r"its machines have 8, 4, 4 GPUs; --nodes 3 --gpus 4 fits"):
        check.require_gpus([machine(8), machine(4), machine(4), machine(8, alive=False)], 2, 8)
    with pytest.raises(ClusterError, match="its machines have 0 GPUs; it has no GPU"):
        check.require_gpus([machine(0)], 1, 1)


def test_a_missing_or_another_openrlhf_is_named_with_what_installs_the_tried_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise check.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(check.metadata, "version", missing)
    with pytest.raises(TrainingError, match=r'not installed here: .*pip install "openrlhf\[vllm\]==0.11.2"'):
        check.check_engine()
    monkeypatch.setattr(check.metadata, "version", lambda name: "0.10.1")
    with pytest.raises(TrainingError, match=r"OpenRLHF 0.10.1 is installed, 0.11.2 was tried: .*==0.11.2"):
        check.check_engine()
    monkeypatch.setattr(check.metadata, "version", lambda name: "0.11.2")
    check.check_engine()


def test_without_ray_a_submission_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.job_submission", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"--submit needs an extra .*\[ray\]"):
        submit_job(Path("train.sh"), "http://127.0.0.1:1")
