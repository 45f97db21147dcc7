"""The databases of a soak, and what is done to them: a kill, a lock, a full disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Literal

from deeprec.errors import EngineError, StoreError
from deeprec.store import open_store

DatabaseName = Literal["auto", "sqlite", "postgres"]
_GRACE = 5.0  # seconds after a trouble in which the store may still be away
_PATIENCE = 60.0  # seconds that a database may take to come back
# A small disk shall not be taken by the log of what was written.
_FRUGAL = {"min_wal_size": "32MB", "max_wal_size": "64MB", "wal_recycle": "off"}


@dataclass(frozen=True)
class Trouble:
    """Something that happens to the database for a while."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]


@dataclass(frozen=True)
class Database:
    """Where the service keeps histories and feedback, and the troubles that it can have."""

    name: str
    url: str
    troubles: tuple[Trouble, ...]


@dataclass(frozen=True)
class Window:
    """When a trouble was there, until the store could be reached again and a little longer."""

    name: str
    began: float
    ended: float

    def meets(self, began: float, ended: float) -> bool:
        """Whether a request of that time may have noticed it."""
        return began < self.ended and ended > self.began


@contextmanager
def own_database(name: DatabaseName, disk_mib: int) -> Iterator[Database]:
    """A database for the soak alone: PostgreSQL where it is installed, else SQLite.

    With `disk_mib` it lies on a file system of that size, which takes root. Raises EngineError for what can't be had.
    """
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deeprec-soak-")))
        place.chmod(0o711)  # PostgreSQL runs as somebody else
        troubles = []
        if disk_mib:
            place = stack.enter_context(_disk(place / "disk", disk_mib))
        programs = None if name == "sqlite" else _postgres_programs()
        if name == "postgres" and programs is None:
            raise EngineError(
                "--database postgres: initdb or psycopg is missing; install PostgreSQL, or use sqlite"
            )
        if programs is None:
            file = place / "store.db"
            told, url, revive = "SQLite", f"sqlite:///{file}", _nothing
            troubles.append(_lock(file))
        else:
            told, url, kill, revive = stack.enter_context(_postgres(programs, place / "pg"))
            troubles.append(kill)
        if disk_mib:
            told = f"{told} on a disk of {disk_mib} MiB"
            troubles.append(_full(place, revive))
        yield Database(told, url, tuple(troubles))


def strike(database: Database, trouble: Trouble, seconds: float, over: threading.Event) -> Window:
    """Have a trouble for so long, and wait until the store can be reached."""
    began = monotonic()
    trouble.begin()
    try:
        over.wait(seconds)
    finally:
        trouble.end()
    until = monotonic() + _PATIENCE
    while not _reached(database.url):
        if monotonic() > until:
            raise EngineError(f"{database.name}: is not back {_PATIENCE:.0f} s after: {trouble.name}")
        sleep(0.1)
    return Window(trouble.name, began, monotonic() + _GRACE)


def _reached(url: str) -> bool:
    try:
        with open_store(url, create=False) as store:
            store.ping()
    except StoreError:
        return False
    return True


def _postgres_programs() -> Path | None:
    """Where PostgreSQL is, if it and its driver are installed and there is somebody to run it as."""
    if find_spec("psycopg") is None:
        return None
    from deeprec.bench.postgres import can_run, find_programs

    return find_programs() if can_run() else None


@contextmanager
def _postgres(programs: Path, folder: Path) -> Iterator[tuple[str, str, Trouble, Callable[[], None]]]:
    from deeprec.bench.postgres import own_server

    folder.mkdir()
    with own_server(programs, folder, _FRUGAL) as server:

        def revive() -> None:
            if not server.is_running:
                server.start()

        yield "PostgreSQL", server.url, Trouble("database killed", server.kill, server.start), revive


def _lock(file: Path) -> Trouble:
    held: list[sqlite3.Connection] = []

    def begin() -> None:
        connection = sqlite3.connect(file, isolation_level=None, timeout=10, check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
        held.append(connection)

    def end() -> None:
        connection = held.pop()
        connection.rollback()
        connection.close()

    return Trouble("database locked", begin, end)


@contextmanager
def _disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        raise EngineError(
            f"--disk-mib {mebibytes}: a file system can't be mounted here; it takes root on Linux"
        )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _full(folder: Path, revive: Callable[[], None]) -> Trouble:
    filler = folder / "filler"

    def begin() -> None:
        with filler.open("wb") as stream:
            while free := shutil.disk_usage(folder).free:
                try:
                    os.posix_fallocate(stream.fileno(), stream.seek(0, os.SEEK_END), free)
                except OSError:  # the database took some meanwhile
                    continue

    def end() -> None:
        filler.unlink()
        revive()

    return Trouble("disk full", begin, end)


def _nothing() -> None:
    pass
