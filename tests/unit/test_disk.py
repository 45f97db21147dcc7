"""Files and folders are whole or not there, whoever else writes, and whenever a process dies."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from file_limits import files_up_to
from safetensors.numpy import save_file

from deeprec.disk import append_jsonl, read_json, read_jsonl, whole_file, whole_folder, write_atomically
from deeprec.errors import RunError
from deeprec.space import naming


def test_a_whole_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for text in ("old", "new"):
        with whole_folder(folder) as part:
            (part / f"{text}.txt").write_text(text)
    assert [file.name for file in folder.iterdir()] == ["new.txt"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_an_interrupted_folder_leaves_the_old_one_whole(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    folder = tmp_path / "model"
    with whole_folder(folder) as part:
        (part / "weights").write_text("old")

    def interrupted_write() -> None:
        with whole_folder(folder) as part:
            (part / "weights").write_text("half")
            raise interruption

    with pytest.raises(interruption):
        interrupted_write()
    assert (folder / "weights").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_what_a_killed_run_left_is_swept_away(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale = tmp_path / f"model.{dead.pid}-0.part"
    stale.mkdir()
    (stale / "weights").write_text("from a killed run")
    alive = tmp_path / f"model.{os.getppid()}-0.part"
    alive.mkdir()
    foreign = tmp_path / "model.notes.part"
    foreign.write_text("not ours")
    with whole_folder(tmp_path / "model") as part:
        (part / "weights").write_text("new")
    assert (tmp_path / "model" / "weights").read_text() == "new"
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "model", alive, foreign])


def test_an_atomic_write_replaces_the_whole_text(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file.json"
    write_atomically(file, "a longer text")
    write_atomically(file, "short")
    assert file.read_text() == "short"
    assert [entry.name for entry in file.parent.iterdir()] == ["file.json"]


def test_records_come_back_in_order_without_a_torn_last_line(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert read_jsonl(file) == []
    for step in range(3):
        append_jsonl(file, {"step": step, "text": "zwei\nZeilen"})
    with file.open("a") as lines:
        lines.write('{"step": 3, "te')
    assert [record["step"] for record in read_jsonl(file)] == [0, 1, 2]


def test_a_broken_line_in_the_middle_is_an_error_with_its_number(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(json.dumps({"step": 0}) + "\n{oops\n" + json.dumps({"step": 2}) + "\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl line 2: not valid JSON"):
        read_jsonl(file)


def test_records_written_after_a_torn_line_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    append_jsonl(file, {"step": 0})
    with file.open("a") as lines:
        lines.write('{"step": 1, "te')
    append_jsonl(file, {"step": 1})  # the resumed run
    append_jsonl(file, {"step": 2})
    assert [record["step"] for record in read_jsonl(file)] == [0, 1, 2]


_MANY = """
import sys
from pathlib import Path
from deeprec.disk import append_jsonl, whole_folder, write_atomically
folder, name = Path(sys.argv[1]), sys.argv[2]
for step in range(150):
    write_atomically(folder / "one.txt", name * 5000)
    append_jsonl(folder / "log.jsonl", {"by": name, "step": step})
    with whole_folder(folder / "model") as part:
        (part / "weights").write_text(name)
"""


def test_processes_that_write_the_same_files_leave_whole_ones(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _MANY, tmp_path, name]) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert (tmp_path / "one.txt").read_text() in ("a" * 5000, "b" * 5000)
    assert (tmp_path / "model" / "weights").read_text() in ("a", "b")
    rows = read_jsonl(tmp_path / "log.jsonl")
    for name in "ab":
        assert [row["step"] for row in rows if row["by"] == name] == list(range(150))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["log.jsonl", "model", "one.txt"]


def test_a_file_that_fails_half_way_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", "old")

    def fail() -> None:
        with whole_file(tmp_path / "a.txt") as part:
            part.write_text("ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_full_disk_names_the_file_that_it_was_full_for(tmp_path: Path) -> None:
    def write(part: Path) -> None:
        part.write_bytes(bytes(20_000))

    def write_tensors(part: Path) -> None:
        save_file({"a": np.zeros(20_000)}, part)

    log = tmp_path / "log.jsonl"
    for number in range(3):
        append_jsonl(log, {"number": number})
    before = log.read_bytes()
    with files_up_to(10_000):
        with pytest.raises(OSError, match=re.escape(str(log))) as caught:
            append_jsonl(log, {"text": "x" * 20_000})
        assert caught.value.filename == str(log)
        for content in (write, write_tensors):
            for place, whole in ((tmp_path / "file", whole_file), (tmp_path / "folder", whole_folder)):
                with pytest.raises(OSError, match="File too large") as caught, whole(place) as part:
                    content(part / "weights" if part.is_dir() else part)
                assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(place))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl"]
    append_jsonl(log, {"number": 3})  # once there is room again
    assert [record["number"] for record in read_jsonl(log)] == [0, 1, 2, 3]
    assert log.read_bytes().startswith(before)


def test_an_error_that_names_its_file_keeps_it_and_a_pipe_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="elsewhere"), naming(tmp_path):
        raise OSError(errno.ENOSPC, "full", "elsewhere")
    with pytest.raises(BrokenPipeError) as caught, naming(tmp_path):
        raise BrokenPipeError(errno.EPIPE, "closed")
    assert caught.value.filename is None


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": ' + "1" * 5000 + "}", "\x00"])
def test_whatever_a_json_file_holds_is_a_value_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011 - of whichever kind
        read_json(file)
    file.write_text(f"{text or '{'}\n{{}}\n")
    with pytest.raises(RunError, match=r"a\.json line 1: not valid JSON"):
        read_jsonl(file)


def test_a_file_that_no_memory_holds(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.touch()
    os.truncate(file, 2**43)  # a hole; it takes no space
    with pytest.raises(OSError, match="is larger than the memory"):
        read_json(file)
    with pytest.raises(RunError, match="is larger than the memory; move it away"):
        read_jsonl(file)


def test_what_is_no_file_is_neither_read_nor_waited_for(tmp_path: Path) -> None:
    for place, make in ((tmp_path / "folder", Path.mkdir), (tmp_path / "pipe", os.mkfifo)):
        make(place)
        with pytest.raises(OSError, match="is no file"):
            read_json(place)
        with pytest.raises(RunError, match="is no file; move it away"):
            read_jsonl(place)
