"""Who writes into a run does so alone; a dead process locks nobody out; readers never wait."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deeprec.cli import main
from deeprec.config import RunConfig, load_config
from deeprec.errors import RunError, RunLocked
from deeprec.locks import LOCK, writing
from deeprec.run import Run, writes

_HOLD = """
import sys
from pathlib import Path
from deeprec.locks import writing
with writing(Path(sys.argv[1]), beside=sys.argv[2] == "beside"):
    print("held", flush=True)
    sys.stdin.read()
"""
_FINISH = """
import sys
from pathlib import Path
from deeprec.run import Run
run = Run.open(Path(sys.argv[1]))
sys.stdin.readline()
run.begin(sys.argv[2])
run.finish(sys.argv[2], "x", 0.0)
"""
Start = Callable[..., subprocess.Popen]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", RunConfig())


@pytest.fixture
def start() -> Iterator[Start]:
    """Processes that hold the lock of a run until they are ended."""
    started = []

    def begin(folder: Path, how: str = "alone") -> subprocess.Popen:
        words = [sys.executable, "-c", _HOLD, str(folder), how]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_writer_is_told_who_is_at_work_and_what_to_do(run: Run, start: Start) -> None:
    other = start(run.folder)
    with pytest.raises(RunLocked) as caught, writing(run.folder):
        pass
    message = str(caught.value)
    assert message.startswith(f"{run.folder}: is being written by process {other.pid} of ")
    for word in (f"-c {run.folder} alone", " since 20", "end it", "choose another folder with --run"):
        assert word in message
    assert "\n" not in message


def test_a_killed_process_locks_nobody_out(run: Run, start: Start) -> None:
    other = start(run.folder)
    other.kill()
    other.wait()
    assert str(other.pid) in (run.folder / LOCK).read_text()  # it had no time to cross itself out
    with writing(run.folder):
        assert str(os.getpid()) in (run.folder / LOCK).read_text()
        assert str(other.pid) not in (run.folder / LOCK).read_text()
    assert (run.folder / LOCK).read_text() == ""


def test_whoever_reads_or_changes_nothing_is_not_held_up(run: Run, start: Start) -> None:
    run.finish("data", "x", 0.0)
    start(run.folder)
    assert "data" in Run.open(run.folder).finished()
    assert Run.create(run.folder, run.config).config == run.config
    with pytest.raises(RunLocked):
        Run.create(run.folder, load_config(overrides=["seed=3"]))
    assert Run.open(run.folder).config.seed == RunConfig().seed


def test_whoever_waits_gets_it_next(run: Run, start: Start) -> None:
    other = start(run.folder)
    threading.Timer(0.2, other.kill).start()
    with writing(run.folder, wait=True):
        assert other.wait() != 0


def test_a_process_may_hold_its_lock_again(run: Run) -> None:
    @writes
    def stage(run: Run) -> str:
        """Write."""
        with writing(run.folder):
            return "written"

    with writing(run.folder):
        assert stage(run) == "written"
    assert stage.__doc__ == "Write."
    with writing(run.folder):
        pass


def test_rivals_are_fitted_beside_each_other_and_nothing_else_is(run: Run, start: Start) -> None:
    other = start(run.folder, "beside")
    with writing(run.folder, beside=True):
        with pytest.raises(RunLocked, match=f"process {other.pid}"):
            Run.create(run.folder, load_config(overrides=["seed=3"]))  # under the feet of the other
        third = start(run.folder, "beside")  # the refusal has not cost us or others the lock
    with (
        pytest.raises(RunLocked, match=rf"process {other.pid} .*; process {third.pid} "),
        writing(run.folder),
    ):
        pass
    for process in (other, third):
        process.communicate()
    with writing(run.folder, beside=True):
        Run.create(run.folder, load_config(overrides=["seed=3"]))  # alone: settings may change
    assert (run.folder / LOCK).read_text() == ""


def test_stages_that_two_processes_finish_at_once_are_all_kept(run: Run) -> None:
    run.finish("data", "x", 0.0)
    for pair in range(3):
        names = [f"rival:{pair}-{side}" for side in "ab"]
        words = [sys.executable, "-c", _FINISH, str(run.folder)]
        both = [subprocess.Popen([*words, name], stdin=subprocess.PIPE, text=True) for name in names]
        for process in both:
            process.stdin.write("\n")
            process.stdin.flush()
        for process in both:
            process.communicate()
        assert [process.returncode for process in both] == [0, 0]
    assert set(run.finished()) == {"data", *(f"rival:{pair}-{side}" for pair in range(3) for side in "ab")}
    assert sorted(entry.name for entry in run.folder.iterdir()) == [LOCK, "run.toml", "stages.json"]


@pytest.mark.parametrize(
    "words",
    [
        ["quickstart"],
        ["data", "prepare", "synthetic"],
        ["trm", "fit"],
        ["trm", "refit"],
        ["policy", "init"],
        ["train"],
        ["rival", "fit", "ease"],
    ],
)
def test_every_command_that_writes_is_refused_in_one_line(
    words: list[str], run: Run, start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    other = start(run.folder)
    before = {file: file.read_bytes() for file in run.folder.rglob("*")}
    monkeypatch.setattr("sys.argv", ["deeprec", *words, "--run", str(run.folder)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(
        f"RunLocked: {run.folder}: is being written by process {other.pid}"
    )
    assert {file: file.read_bytes() for file in run.folder.rglob("*")} == before


def test_a_folder_that_is_no_run_gets_no_lock(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty and not a run folder"), writing(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]
