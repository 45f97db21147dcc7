"""Room on the disk: whether a stage has what it needs, and words for a disk that refuses."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from deeprec.errors import RunError

_SEE = "see to the disk"
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space in your quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "choose a folder that can be written (--run)",
    errno.EACCES: "change its permissions",
    errno.EPERM: "change its permissions",
    errno.EIO: _SEE,
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
# safetensors, polars and tokenizers end in the one, shutil lists the other
_NUMBER = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")
# What torch says when a write comes out short; it keeps the number to itself.
_TORCH = re.compile(r"PytorchStreamWriter|inline_container.*unexpected pos|file write failed")
LOGS = 2**20  # what metrics, TensorBoard, ledgers and records of a stage need besides


@dataclass(frozen=True, slots=True)
class _Need:
    folder: Path
    what: str
    size: int

    def __str__(self) -> str:
        free = mebibytes(_free(self.folder))
        return f"{self.what} needs about {mebibytes(self.size)} at {self.folder}, {free} are free"


_need: ContextVar[_Need | None] = ContextVar("need", default=None)


class naming:  # noqa: N801 - used as a function is
    """What the disk refuses in the block is an OSError that names `place`, unless it names a file already.

    Python leaves the name out where a write fails, and not the opening; what is written in Rust or by torch
    raises classes of its own (tokenizers: Exception itself) and says it in words.
    """

    def __init__(self, place: Path) -> None:
        self._place = place

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Name the place, or raise the OSError that was meant."""
        if isinstance(error, OSError) and error.errno is not None:
            if error.filename is None and error.errno in _REMEDIES:  # a closed pipe is no file
                error.filename = str(self._place)
            return
        code = _told_in_words(error, self._place)
        if code is not None:
            raise OSError(code, os.strerror(code), str(self._place)) from error


def _told_in_words(error: BaseException | None, place: Path) -> int | None:
    if error is None:
        return None
    number = _NUMBER.search(str(error))
    if number is not None:
        return int(number[1] or number[2])
    if isinstance(error, RuntimeError) and _TORCH.search(str(error)) and "StreamReader" not in str(error):
        return errno.ENOSPC if _free(place) < LOGS else errno.EFBIG
    return None


def refuses(error: BaseException) -> bool:
    """Whether this is what a disk says that is full, or that may not be written."""
    return isinstance(error, OSError) and error.errno in _REMEDIES


def remedy_of(error: OSError) -> str:
    """What to do about a disk that refuses, as a part of a sentence; where it is full, how much is needed."""
    remedy, need = _REMEDIES.get(error.errno or 0, _SEE), _need.get()
    return f"{remedy} ({need})" if need is not None and error.errno in _FULL else remedy


@contextmanager
def needs_of_its_own() -> Iterator[None]:
    """What is asked for in the block is forgotten after it."""
    token = _need.set(None)
    try:
        yield
    finally:
        _need.reset(token)


def require_space(folder: Path, size: int, what: str, held: Iterable[Path] = ()) -> None:
    """Raise RunError where less than `size` bytes are free at `folder`; messages of a full disk name them from now on.

    What lies at `held` will be replaced or removed, and counts as free.
    """
    need = _Need(folder, what, size)
    _need.set(need)
    if _free(folder) + sum(size_of(place) for place in held) < size:
        raise RunError(
            f"{folder}: too little space: {need}; free some, then run the same command again (finished stages "
            "and checkpoints are kept)"
        )


def size_of(place: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 for nothing there."""
    if place.is_file():
        return place.stat().st_size
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


def mebibytes(size: int) -> str:
    """A size for people.

    >>> mebibytes(3 * 2**20), mebibytes(5_000), mebibytes(7 * 2**30)
    ('3.0 MiB', '0.0 MiB', '7168.0 MiB')
    """
    return f"{size / 2**20:.1f} MiB"


def _free(folder: Path) -> int:
    """Bytes that this user may still write at `folder`, or at what is there of its path."""
    place = next(at for at in (folder, *folder.absolute().parents) if at.exists())
    return shutil.disk_usage(place).free
