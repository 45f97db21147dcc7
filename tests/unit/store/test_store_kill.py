"""What was acknowledged is there after a kill, of the program or of the database server itself."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.postgres import Postgres, emptied

from deeprec.store import Feedback, HistoryEntry, Store, open_store

# Writes for ever, from several threads at once, and says what has been acknowledged.
WRITER = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from deeprec.errors import StoreUnavailable
from deeprec.store import Feedback, HistoryEntry, open_store

store = open_store(sys.argv[1])

def write(thread):
    number = 0
    while True:
        user, number = f"u{thread}-{number}", number + 1
        try:
            store.put_history(user, [HistoryEntry(f"i{place}") for place in range(20)])
            os.write(1, f"history {user}\\n".encode())
            store.add_feedback(Feedback(user, "i1", "click", float(number), key=user))
            os.write(1, f"feedback {user}\\n".encode())
            if number % 5 == 0:
                store.delete_user(user)
                os.write(1, f"deleted {user}\\n".encode())
        except StoreUnavailable:
            os._exit(7)

with ThreadPoolExecutor(3) as threads:
    list(threads.map(write, range(3)))
"""
KILLED_AFTER = 60  # acknowledgements


@contextmanager
def writer(url: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WRITER, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def rest(process: subprocess.Popen[str]) -> list[str]:
    """What else it said until it ended; a line that was cut off is none."""
    assert process.stdout is not None
    return [line.strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]


def check(store: Store, acknowledged: list[str]) -> None:
    """Everything acknowledged is there, and nothing by halves."""
    assert len(acknowledged) >= KILLED_AFTER
    assert all(acknowledged)
    done = {
        what: {line.split()[1] for line in acknowledged if line.startswith(what)}
        for what in ("history", "feedback", "deleted")
    }
    assert all(done.values())
    started_deleting = {user for user in done["feedback"] if int(user.split("-")[1]) % 5 == 4}
    clicks = {feedback.user_id for feedback in store.feedback()}
    assert done["feedback"] - started_deleting <= clicks
    for user in done["history"] - started_deleting:
        entries = store.history(user)
        assert entries is not None
        assert [entry.item_id for entry in entries] == [f"i{place}" for place in range(20)]
    assert store.deleted(done["deleted"]) == done["deleted"]
    assert not done["deleted"] & clicks
    assert {len(stored.entries) for stored in store.histories()} == {20}


def test_acknowledged_writes_survive_a_kill_of_the_program(store_url: str) -> None:
    with writer(store_url) as process:
        acknowledged = lines(process, KILLED_AFTER)
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += rest(process)
    assert process.returncode == -signal.SIGKILL
    with open_store(store_url, create=False) as store:
        check(store, acknowledged)
        store.put_history("later", [HistoryEntry("i1")])
        assert store.add_feedback(Feedback("later", "i1", "click", 1.0)) == 1
    if store_url.startswith("sqlite"):
        file = Path(store_url.removeprefix("sqlite:///"))
        with sqlite3.connect(file) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()


def test_acknowledged_writes_survive_a_kill_of_the_server(postgres: Postgres) -> None:
    url = emptied(postgres)
    with writer(url) as process:
        acknowledged = lines(process, KILLED_AFTER)
        postgres.kill()
        try:
            acknowledged += rest(process)
        finally:
            postgres.start()
    assert process.returncode == 7  # it saw the server go, and acknowledged nothing more
    with open_store(url, create=False) as store:
        check(store, acknowledged)
        assert store.delete_user("u0-0")
