"""A run is made by one process on one GPU; anything else is refused before it is trained wrongly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deeprec.config import load_config
from deeprec.device import check_one_gpu, check_one_process
from deeprec.errors import ConfigError
from deeprec.run import Run

LAUNCHERS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_one_of_several_processes_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in LAUNCHERS:
        monkeypatch.delenv(other, raising=False)
    check_one_process()
    for alone in ("1", "", "many"):
        monkeypatch.setenv(name, alone)
        check_one_process()
    monkeypatch.setenv(name, "2")
    with pytest.raises(ConfigError, match=rf"{name} = 2: .* without torchrun, accelerate launch"):
        check_one_process()


def test_no_stage_begins_in_one_of_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path / "run", load_config())
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="one of 4 processes"):
        run.begin("data")
    assert not run.finished()


def test_several_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_one_gpu()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"2 GPUs are visible.* CUDA_VISIBLE_DEVICES=0"):
        check_one_gpu()


@pytest.mark.slow
def test_torchrun_gets_the_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A real launcher, two real processes."""
    folder, script = tmp_path / "run", tmp_path / "command.py"
    arguments = ["deeprec", "data", "prepare", "synthetic", "--run", str(folder)]
    script.write_text(f"import sys\nfrom deeprec.cli import main\nsys.argv = {arguments}\nmain()\n")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        str(script),
    ]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert found.returncode
    assert "one of 2 processes of one command" in found.stderr
    assert not (folder / "data").exists()
