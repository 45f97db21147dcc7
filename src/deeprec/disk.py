"""Files and folders that are whole or not there, and logs of one JSON object a line.

What is being written has a name of its own (`NAME.PID-COUNT.part`) until it takes its place, so that
two processes never write into one file.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from deeprec.errors import RunError
from deeprec.space import naming

_counter = itertools.count()


def write_atomically(file: Path, text: str) -> None:
    """Write a text file so that it is either whole or not there."""
    with whole_file(file) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """A name to write under; what was written takes the place of `file` only if the block succeeds."""
    part = _beside(file)
    try:
        with naming(file):
            yield part
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` only if the block succeeds."""
    part = _beside(folder)
    part.mkdir()
    try:
        with naming(folder):
            yield part
        _take_place(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _take_place(part: Path, folder: Path) -> None:
    # Two renames, not a deletion and a rename: whoever reads meanwhile lacks the folder for microseconds.
    former = _beside(folder)
    with alone(folder):
        if folder.is_dir():
            folder.rename(former)
        part.rename(folder)
    shutil.rmtree(former, ignore_errors=True)


def _beside(place: Path) -> Path:
    """A free name in the same folder for what will be `place`; what dead processes left there is removed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(f"{glob.escape(place.name)}.*.part"):
        if _is_at_work(left) is False:
            _remove(left)
    return place.with_name(f"{place.name}.{os.getpid()}-{next(_counter)}.part")


def left_behind(folder: Path) -> list[Path]:
    """What was left half-written anywhere under a folder; what a process is writing just now is not."""
    # Unlike a pattern this goes on where a folder goes away meanwhile.
    found = [Path(place, name) for place, *both in os.walk(folder) for names in both for name in names]
    return sorted(part for part in found if part.suffix == ".part" and not _is_at_work(part))


def _is_at_work(part: Path) -> bool | None:
    """Whether the process that writes `part` is alive; None for one that isn't named by us, nor ours to judge."""
    pid = part.name.removesuffix(".part").rpartition(".")[2].partition("-")[0]
    if not pid.isdecimal():
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def file_hash(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """For the moment of a change to `file`, no other process changes a file of its folder.

    The folder itself is what is locked, so that nothing has to be left behind; the kernel frees it when
    a process dies.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file.parent, os.O_RDONLY)
    try:
        # Some network file systems lock no folders; there the lock of the run alone has to do.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):  # said, not left to the closing: a forked child may hold the descriptor, too
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def read_json(file: Path) -> Any:
    """What a JSON file holds. Raises OSError or ValueError, whatever is there.

    A pipe is not waited for, thousands of brackets are no RecursionError, and a file of terabytes no MemoryError.
    """
    return _parsed(_read(file))


def _read(file: Path) -> bytes:
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "is no file", str(file))
    try:
        return file.read_bytes()
    except MemoryError:
        raise OSError(errno.ENOMEM, "is larger than the memory", str(file)) from None


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def append_jsonl(file: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON object as a line, in the place of a line that a killed run left unfinished."""
    with naming(file), alone(file), file.open("ab+") as lines:
        _cut_torn_line(lines)
        lines.write(json.dumps(record).encode() + b"\n")


def _cut_torn_line(lines: BinaryIO) -> None:
    end = lines.seek(0, os.SEEK_END)
    if end == 0:
        return
    lines.seek(end - 1)
    if lines.read(1) == b"\n":
        return
    lines.seek(0)
    lines.truncate(lines.read().rfind(b"\n") + 1)


def rewrite_jsonl(file: Path, change: Callable[[list[dict[str, Any]]], Sequence[Mapping[str, Any]]]) -> None:
    """Replace the records of a JSON-lines file by what `change` makes of them."""
    with alone(file):
        write_jsonl(file, change(read_jsonl(file)))


def drop_rows(
    file: Path, stage: str, keep: Callable[[Mapping[str, Any]], bool] = lambda row: False
) -> list[dict[str, Any]]:
    """Forget a stage's rows of a log but those to `keep`, which are returned: the others will be written again."""
    found = [row for row in read_jsonl(file) if row.get("stage") == stage]
    if not all(keep(row) for row in found):
        rewrite_jsonl(file, lambda rows: [row for row in rows if row.get("stage") != stage or keep(row)])
    return [row for row in found if keep(row)]


def write_jsonl(file: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write a JSON-lines file so that it is either whole or not there."""
    write_atomically(file, "".join(json.dumps(record) + "\n" for record in records))


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    """All records of a JSON-lines file; an unfinished last line (a killed run) is left out."""
    if not file.exists():
        return []
    records: list[dict[str, Any]] = []
    try:
        lines = _read(file).splitlines()
    except OSError as error:
        raise RunError(f"{file}: {error.strerror}; move it away, or restore it from a copy") from None
    for number, line in enumerate(lines, 1):
        try:
            record = _parsed(line)
        except ValueError as error:
            if number < len(lines):
                raise RunError(f"{file} line {number}: not valid JSON ({error}); delete the line") from None
            continue
        if not isinstance(record, dict):
            raise RunError(f"{file} line {number}: not a JSON object; delete the line")
        records.append(record)
    return records
