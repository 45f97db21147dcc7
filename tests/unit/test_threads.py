"""How many threads a stage computes with: told, measured, kept; quotas of control groups."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from deeprec import threads
from deeprec.config import load_config
from deeprec.errors import ConfigError
from deeprec.policy.probe import training_piece
from deeprec.run import Run
from deeprec.threads import choose_threads, fix_threads, stage_threads, usable_cores


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores, nothing told; torch's own number afterwards."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    monkeypatch.setattr(threads, "_fixed", None)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", load_config("ci"))


def slower_with(many: float, one: float):
    """A step that takes so many milliseconds with two threads, and with one."""
    return lambda: time.sleep((many if torch.get_num_threads() > 1 else one) / 1000)


@pytest.mark.parametrize(("many", "one", "chosen"), [(20, 5, 1), (5, 20, 2), (12, 10, 1)])
def test_what_is_faster_is_taken_and_undone_afterwards(
    run: Run, many: float, one: float, chosen: int
) -> None:
    torch.set_num_threads(2)
    with stage_threads(run, "trm", "a", slower_with(many, one)) as choice:
        assert choice.threads == torch.get_num_threads() == chosen
        assert choice.most == 2
        assert "x as fast as with" in choice.reason
    assert torch.get_num_threads() == 2


def test_an_interrupted_stage_goes_on_as_it_began(run: Run) -> None:
    with stage_threads(run, "trm", "a", slower_with(20, 5)):
        pass
    for stage, inputs, chosen in (("trm", "a", 1), ("trm", "b", 2), ("warm_start", "a", 2)):
        with stage_threads(run, stage, inputs, slower_with(5, 20)) as choice:
            assert choice.threads == chosen


@pytest.mark.parametrize("text", ["{", "[]", '{"trm": {"inputs": "a", "threads": 64}}'])
def test_a_record_that_does_not_fit_is_measured_anew(run: Run, text: str) -> None:
    (run.folder / "threads.json").write_text(text)
    with stage_threads(run, "trm", "a", slower_with(20, 5)) as choice:
        assert choice.threads == 1


def test_what_is_told_is_not_measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> None:
        pytest.fail("measured")

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    assert (choose_threads(never).threads, choose_threads(never).reason) == (1, "as told by OMP_NUM_THREADS")
    fix_threads(2)
    with stage_threads(run, "trm", "a", never) as choice:
        assert (choice.threads, str(choice)) == (2, "2 of 2 threads (as told by --threads)")
    with pytest.raises(ConfigError, match=r"--threads 0: must be at least 1"):
        fix_threads(0)
    with pytest.raises(ConfigError, match=r"--threads 100000: must be 1024 at most; cores here: \d+"):
        fix_threads(100_000)


def test_one_core_needs_no_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    assert choose_threads(lambda: pytest.fail("measured")).threads == 1


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "20000 100000"}, 1),
        ("0::/not/visible\n", {"cpu.max": "300000 100000"}, 3),
        ("0::/a\n", {"a/cpu.max": "max 100000"}, 4),
        ("0::/a\n", {"a/cpu.max": "nonsense"}, 4),
        (
            "4:cpu,cpuacct:/c\n0::/\n",
            {"cpu/c/cpu.cfs_quota_us": "250000", "cpu/c/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("4:cpu,cpuacct:/c\n", {"cpu/c/cpu.cfs_quota_us": "-1", "cpu/c/cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_the_quota_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (tmp_path / "own").write_text(own)
    assert usable_cores(tmp_path / "groups", tmp_path / "own") == cores


def test_without_control_groups_affinity_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3), raising=False)
    assert usable_cores(tmp_path / "none", tmp_path / "none") == 3


def test_the_command_line_waits_passively_unless_told_otherwise() -> None:
    program = (
        "import os, sys; from deeprec.cli import main; sys.argv = ['deeprec', '--version']\n"
        "try: main()\nexcept SystemExit: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    for told, expected in ((None, "PASSIVE False"), ("ACTIVE", "ACTIVE False")):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        environment |= {"OMP_WAIT_POLICY": told} if told else {}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == expected


def test_measuring_changes_neither_a_policy_nor_what_is_drawn() -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = Qwen2ForCausalLM(
        Qwen2Config(vocab_size=20, num_key_value_heads=1, attention_dropout=0.5, **sizes)
    )
    model.eval()
    before = [weight.clone() for weight in model.parameters()]
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    training_piece(model)()
    assert torch.equal(torch.rand(2), expected)
    assert not model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
