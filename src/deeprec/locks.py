"""Locks that a process holds while it works in a run, and that the kernel frees when the process dies.

A lock is a file that is locked, not a file that exists: what a killed process left behind locks nobody
out. The file says who holds it, so that whoever is refused can be told.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from deeprec.errors import RunError, RunLocked
from deeprec.space import remedy_of

LOCK = "run.lock"  # of the run folder, held by whoever writes there
_SHOWN = 200  # characters of a command


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, and since when."""

    user: str
    host: str
    pid: int
    since: str
    command: str

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        command = shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])
        since = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        return cls(_user(), socket.gethostname(), os.getpid(), since, command[:_SHOWN])

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host} since {self.since}: {self.command}"


@dataclass
class _Held:
    descriptor: int
    is_shared: bool
    depth: int = 0


_held: dict[Path, _Held] = {}  # of this process, by lock file
_guard = threading.RLock()


def writing(folder: Path, *, beside: bool = False, wait: bool = False) -> AbstractContextManager[None]:
    """Within the block no other process writes into the run; `beside`: none but others that fit rivals.

    Whoever only reads needs none of it. `wait` waits until the run is free. Raises RunError where `folder`
    is something else than a run, RunLocked where another process is at work there.
    """
    check_place(folder)
    return hold(folder / LOCK, folder, shared=beside, wait=wait)


def check_place(folder: Path) -> None:
    """Raise RunError for a place that is no run and can't become one."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; name a folder for the run")
    if not folder.is_dir() or (folder / "run.toml").exists():
        return
    if any(entry.name != LOCK for entry in folder.iterdir()):
        raise RunError(f"{folder}: is not empty and not a run folder; choose another with --run")


@contextmanager
def hold(file: Path, place: Path, *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Within the block no other process holds the lock `file` of `place`; `shared`: none but sharers.

    A process that holds it may hold it again. `wait` waits for the lock. Otherwise raises RunLocked,
    naming the holder, where another process has it, and RunError where `file` can't be written.
    """
    key = file.absolute()
    held = _take(key, place, shared=shared, wait=wait)
    was_shared = held.is_shared
    if was_shared and not shared:
        _lock(held, key, place, shared=False, wait=wait)
    held.depth += 1
    try:
        yield
    finally:
        held.depth -= 1
        if not held.depth:
            _free(key, held)
        elif was_shared and not shared:
            _lock(held, key, place, shared=True, wait=True)


def _take(file: Path, place: Path, *, shared: bool, wait: bool) -> _Held:
    with _guard:
        if file in _held:
            return _held[file]
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise RunError(f"{place}: can't be written ({error.strerror}); {remedy_of(error)}") from None
        held = _Held(descriptor, shared)
        try:
            _lock(held, file, place, shared=shared, wait=wait)
        except BaseException:
            os.close(descriptor)
            raise
        _held[file] = held
        return held


def _lock(held: _Held, file: Path, place: Path, *, shared: bool, wait: bool) -> None:
    """Lock the open file one way or the other, and write down who has it."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(held.descriptor, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        if held.depth:  # a refused change of kind has cost the lock that was there
            fcntl.flock(held.descriptor, fcntl.LOCK_SH)
        raise RunLocked(_refusal(file, place)) from None
    except OSError as error:
        raise RunError(
            f"{place}: its file system can't lock files ({error.strerror}); choose a folder on a local disk"
        ) from None
    held.is_shared = shared
    if not shared:
        os.ftruncate(held.descriptor, 0)  # whoever held it before
    with suppress(OSError):  # a full disk is told by whoever has more to write
        os.write(held.descriptor, json.dumps(asdict(Holder.here())).encode() + b"\n")


def _free(file: Path, held: _Held) -> None:
    with _guard:
        del _held[file]
        with suppress(BlockingIOError):  # others share it
            fcntl.flock(held.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(held.descriptor, 0)
        fcntl.flock(held.descriptor, fcntl.LOCK_UN)  # a forked child may hold the descriptor, too
        os.close(held.descriptor)


def _refusal(file: Path, place: Path) -> str:
    names = [str(holder) for holder in _holders(file)]
    who = "; ".join(names) or "another process"
    return (
        f"{place}: is being written by {who}. Wait until it has finished or end it, then run the same command "
        "again; or choose another folder with --run"
    )


def _holders(file: Path) -> list[Holder]:
    """Those written down who may still be there: one of several sharers is not crossed out when it ends."""
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            holder = Holder(**json.loads(line))
        except (ValueError, TypeError):
            continue  # half-written: its process has just taken the lock, or died
        if holder.host != socket.gethostname() or _is_alive(holder.pid):
            found.append(holder)
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"
