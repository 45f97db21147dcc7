"""The very lines of docs/howto/operate.md: a backup while feedback comes in, and its restore."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.postgres import Postgres, emptied

from deeprec.bench.postgres import find_programs
from deeprec.store import Feedback, HistoryEntry, open_store

DOCS = Path(__file__).parents[3] / "docs" / "howto" / "operate.md"
BEFORE = 50  # clicks that were acknowledged when the backup begins


def lines_with(words: str, **values: str) -> str:
    """The one block of commands that holds `words`, with other values of its variables."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if words in block]
    for name, value in values.items():
        found, count = re.subn(rf"^{name}=.*$", f"{name}='{value}'", found, flags=re.MULTILINE)
        assert count == 1
    return found


def run(script: str, folder: Path) -> str:
    programs = find_programs()
    path = [str(Path(sys.executable).parent), *([str(programs)] if programs else []), os.environ["PATH"]]
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env={**os.environ, "PATH": os.pathsep.join(path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def clicking(url: str) -> Iterator[None]:
    """Feedback that comes in all the time, some of it before the block."""
    started, over = threading.Event(), threading.Event()

    def click() -> None:
        with open_store(url, wait=10) as store:
            number = 0
            while not over.is_set():
                store.add_feedback(Feedback("u1", "i1", "click", 1.0, key=f"{number:04}"))
                number += 1
                if number == BEFORE:
                    started.set()

    thread = threading.Thread(target=click)
    thread.start()
    assert started.wait(60)
    try:
        yield
    finally:
        over.set()
        thread.join()


def check_restored(url: str) -> None:
    with open_store(url, create=False) as store:
        keys = [entry.key for entry in store.feedback()]
        assert keys[:BEFORE] == [f"{number:04}" for number in range(BEFORE)]
        assert keys == sorted(set(keys))  # a moment of the past, whole
        assert store.history("u1") == (HistoryEntry("i1"),)
        assert store.is_deleted("gone")  # the salt came along
        assert store.history("later") is None
        store.put_history("u9", [HistoryEntry("i2")])


def prepare(url: str) -> None:
    with open_store(url) as store:
        store.put_history("u1", [HistoryEntry("i1")])
        store.delete_user("gone")


def test_a_store_in_sqlite_is_backed_up_while_it_is_written_and_restored(tmp_path: Path) -> None:
    place = tmp_path / "live" / "store.db"
    url = f"sqlite:///{place}"
    prepare(url)
    with clicking(url):
        run(lines_with("sqlite3.connect(sys.argv[1])", STORE=str(place)), tmp_path)
    with open_store(url) as store:
        store.put_history("later", [HistoryEntry("i1")])
        # A process that died left its log behind: with the older file it would make a broken one.
        for name in ("store.db-wal", "store.db-shm"):
            (tmp_path / name).write_bytes(place.with_name(name).read_bytes())
    for name in ("store.db-wal", "store.db-shm"):
        place.with_name(name).write_bytes((tmp_path / name).read_bytes())
    told = run(lines_with("cp store-backup.db", STORE=str(place)), tmp_path)
    assert "1 forgotten" in told
    assert place.stat().st_mode & 0o777 == 0o600
    check_restored(url)


def test_a_store_in_postgresql_is_backed_up_while_it_is_written_and_restored(
    tmp_path: Path, postgres: Postgres
) -> None:
    url = emptied(postgres)
    prepare(url)
    place = url.replace("+psycopg", "")
    with clicking(url):
        run(lines_with("pg_dump", DATABASE=place), tmp_path)
    with open_store(url) as store:
        store.put_history("later", [HistoryEntry("i1")])
    run(lines_with("pg_restore", DATABASE=place), tmp_path)
    check_restored(url)
