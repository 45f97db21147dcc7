"""Memory, disk and damaged checkpoints, by the errors that torch and safetensors really raise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from file_limits import files_up_to
from safetensors.torch import load_file, save_file

from deeprec.errors import RewardError, TrainingError
from deeprec.rl.failures import named_failures

ADVICE = "stage 'x': out of memory; lower something"


def too_much(_: Path) -> None:
    torch.empty(2**58)


def no_room_on_the_card(_: Path) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("fail", [too_much, no_room_on_the_card])
def test_a_lack_of_memory_gives_the_advice(tmp_path: Path, fail: Callable[[Path], None]) -> None:
    with pytest.raises(TrainingError) as caught, named_failures(tmp_path, ADVICE):
        fail(tmp_path)
    assert str(caught.value) == ADVICE


def write_plainly(file: Path) -> None:
    file.write_bytes(bytes(100_000))


def write_tensors(file: Path) -> None:
    save_file({"a": torch.zeros(100_000)}, file)


def write_pickle(file: Path) -> None:
    torch.save({"a": torch.zeros(100_000)}, file)


@pytest.mark.parametrize("write", [write_plainly, write_tensors, write_pickle])
def test_a_disk_that_is_full_for_a_checkpoint(tmp_path: Path, write: Callable[[Path], None]) -> None:
    told = rf"^{tmp_path}: .*can't be written \(.*then the same command goes on from the last checkpoint"
    with files_up_to(10_000), pytest.raises(TrainingError, match=told), named_failures(tmp_path, ADVICE):
        write(tmp_path / "file")


@pytest.mark.parametrize("name", ["tensors", "pickle"])
def test_a_damaged_checkpoint_can_not_be_read(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    (write_tensors if name == "tensors" else write_pickle)(file)
    file.write_bytes(file.read_bytes()[:1000])
    with (
        pytest.raises(TrainingError, match=r"the latest checkpoint can't be read .*delete it"),
        named_failures(tmp_path, ADVICE),
    ):
        load_file(file) if name == "tensors" else torch.load(file)


def test_what_is_something_else_stays_what_it_is(tmp_path: Path) -> None:
    for error in (RuntimeError("shapes differ"), RewardError("nan"), BrokenPipeError(32, "closed")):
        with pytest.raises(type(error)) as caught, named_failures(tmp_path, ADVICE):
            raise error
        assert caught.value is error
