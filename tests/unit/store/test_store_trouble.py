"""Databases that are locked, away, frozen, damaged or not a store: an error within seconds that says what to do."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from services.postgres import Postgres, emptied, frozen

from deeprec.distribution import install_command
from deeprec.errors import StoreError, StoreUnavailable
from deeprec.store import Feedback, HistoryEntry, Store, open_store

ENTRIES = (HistoryEntry("i1", 1.0),)
WRITES: tuple[Callable[[Store], object], ...] = (
    lambda store: store.put_history("u1", ENTRIES),
    lambda store: store.delete_user("u1"),
    lambda store: store.add_feedback(Feedback("u1", "i1", "click", 1.0)),
)
READS: tuple[Callable[[Store], object], ...] = (
    lambda store: store.history("u1"),
    lambda store: store.is_deleted("u1"),
    lambda store: store.deleted(["u1"]),
    lambda store: list(store.feedback()),
    lambda store: list(store.histories()),
    lambda store: store.info(),
    lambda store: store.ping(),
)


def connection_string(url: str) -> str:
    """The same place as psycopg itself writes it."""
    return url.replace("postgresql+psycopg://", "postgresql://")


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("store.db", "can't be read; write sqlite:///PATH or postgresql+psycopg://"),
        ("", "can't be read"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///x.db?mode=ro&uri=true", "names no file"),
        ("mysql://root:hidden@host/db", "unknown kind of store 'mysql'"),
        ("postgresql+psycopg://me:hidden@host:port/db", "can't be read"),
    ],
)
def test_a_url_that_is_none_is_refused(url: str, message: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("library", "url", "extra"),
    [("sqlalchemy", "sqlite:///x.db", "serve"), ("psycopg", "postgresql://127.0.0.1:1/x", "postgres")],
)
def test_a_library_that_is_missing_is_named(library: str, url: str, extra: str) -> None:
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from deeprec import MissingExtraError\n"
        "from deeprec.store import open_store\n"
        f"try:\n    open_store({url!r})\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"not installed: {install_command(extra)}" in done.stdout


def test_nothing_is_made_where_nothing_shall_be(tmp_path: Path, postgres: Postgres) -> None:
    file = tmp_path / "folder" / "store.db"
    with pytest.raises(StoreError, match=r"store\.db: no store here"):
        open_store(f"sqlite:///{file}", create=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="holds no store"):
        open_store(emptied(postgres), create=False)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'folder' / 'store.db'}") as store:
        store.put_history("u1", ENTRIES)
        files = sorted((tmp_path / "folder").iterdir())
        assert [file.name for file in files] == ["store.db", "store.db-shm", "store.db-wal"]
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("my notes " * 200)
    with pytest.raises(StoreError, match="not a database; name another file") as caught:
        open_store(f"sqlite:///{file}")
    assert not isinstance(caught.value, StoreUnavailable)
    assert file.read_text() == "my notes " * 200


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/store\.db: can't be made"):
        open_store(f"sqlite:///{tmp_path / 'file' / 'store.db'}")
    with pytest.raises(StoreError, match="is a folder; name a file in it"):
        open_store(f"sqlite:///{tmp_path}")


def test_a_newer_schema_is_refused_and_left_alone(store_url: str) -> None:
    from sqlalchemy import create_engine, text

    open_store(store_url).close()
    engine = create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE deeprec_schema SET version_num = '0999'"))
    with pytest.raises(
        StoreError, match=r"schema '0999', made by a newer deeprec .* upgrade deeprec"
    ) as caught:
        open_store(store_url)
    assert not isinstance(caught.value, StoreUnavailable)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM deeprec_schema")).scalar() == "0999"
    engine.dispose()


def test_a_store_without_its_salt_is_refused(store_url: str) -> None:
    from sqlalchemy import create_engine, text

    open_store(store_url).close()
    engine = create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM deeprec_secret"))
    engine.dispose()
    with pytest.raises(StoreError, match="its salt is gone"):
        open_store(store_url)


def test_a_store_that_lost_a_table_does_not_ask_to_try_again(store_url: str) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(store_url)
    with open_store(store_url) as store:
        store.put_history("u1", [])
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE deeprec_history"))
        engine.dispose()
        with pytest.raises(StoreError, match=r"deeprec_history.*name another store") as caught:
            store.history("u1")
    assert not isinstance(caught.value, StoreUnavailable)


def test_a_store_opened_by_many_at_once_is_made_once(store_url: str) -> None:
    with ThreadPoolExecutor(6) as threads:
        stores = list(threads.map(lambda _: open_store(store_url, wait=10), range(6)))
    stores[0].delete_user("u1")
    assert all(store.is_deleted("u1") for store in stores)  # one salt
    for store in stores:
        store.close()


def test_a_locked_file_is_an_error_after_the_wait(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    with open_store(f"sqlite:///{file}", wait=0.1) as store:
        store.put_history("u1", ENTRIES)
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for write in WRITES:
            with within(3), pytest.raises(StoreUnavailable, match=r"store\.db: database is locked; wait"):
                write(store)
        for read in READS:
            read(store)  # readers don't wait for the writer
        other.rollback()
        other.close()
        for write in WRITES:
            write(store)


def test_a_thread_that_writes_for_long_holds_up_others_no_longer_than_the_wait(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}", wait=0.1) as store:
        opened: Any = store
        entered, leave = threading.Event(), threading.Event()

        def write() -> None:
            with opened._connections.to_write():
                entered.set()
                leave.wait(10)

        thread = threading.Thread(target=write)
        thread.start()
        entered.wait(10)
        with within(3), pytest.raises(StoreUnavailable, match="too many wait to write"):
            store.delete_user("u1")
        leave.set()
        thread.join()


def test_a_locked_row_is_an_error_after_the_wait(postgres: Postgres) -> None:
    url = emptied(postgres)
    with open_store(url, wait=0.1) as store:
        store.put_history("u1", ENTRIES)
        with psycopg.connect(connection_string(url)) as other:
            other.execute("SELECT * FROM deeprec_users FOR UPDATE")
            for write in WRITES:
                with within(3), pytest.raises(StoreUnavailable, match="lock timeout; wait, or end"):
                    write(store)
            for read in READS:
                read(store)
        for write in WRITES:
            write(store)


def test_a_table_that_is_locked_whole_stops_readers_no_longer_than_the_wait(postgres: Postgres) -> None:
    url = emptied(postgres)
    with open_store(url, wait=0.1) as store, psycopg.connect(connection_string(url)) as other:
        other.execute("LOCK deeprec_users, deeprec_secret, deeprec_history, deeprec_feedback")
        for call in READS + WRITES:
            with within(3), pytest.raises(StoreUnavailable, match="lock timeout"):
                call(store)


def test_a_server_that_is_not_there_is_an_error_without_the_password(tmp_path: Path) -> None:
    places = ("127.0.0.1:1/db", f"/db?host={tmp_path}", "127.0.0.1:1/db?password=hidden&sslpassword=hidden")
    for place in places:
        with within(5), pytest.raises(StoreUnavailable, match="check that the database runs") as caught:
            open_store(f"postgresql://me:hidden@{place}")
        assert "postgresql+psycopg://me:***@" in str(caught.value)
        assert "hidden" not in str(caught.value)


def test_a_database_that_does_not_exist_is_named(postgres: Postgres) -> None:
    url = emptied(postgres).replace("/postgres?", "/nosuch?")
    with pytest.raises(StoreError, match=r'database "nosuch.*does not exist'):
        open_store(url)


def test_a_server_that_is_frozen_is_given_up(postgres: Postgres) -> None:
    url = emptied(postgres)
    with open_store(url, wait=0.1) as store:
        store.put_history("u1", ENTRIES)
        with (
            frozen(postgres),
            within(6),
            pytest.raises(StoreUnavailable, match="check that the database runs"),
        ):
            store.put_history("u1", ())
        assert store.history("u1") == ENTRIES
        store.ping()


def test_a_server_that_was_started_again_is_no_error(postgres: Postgres) -> None:
    url = emptied(postgres)
    with open_store(url, wait=0.5) as store:
        store.put_history("u1", ENTRIES)
        postgres.kill()
        try:
            for call in READS + WRITES:
                with within(5), pytest.raises(StoreUnavailable):
                    call(store)
        finally:
            postgres.start()
        assert store.history("u1") == ENTRIES
        for call in WRITES + READS:
            call(store)


def test_an_answer_that_does_not_come_is_given_up(postgres: Postgres) -> None:
    """In the middle of a transaction, where no new connection hides it."""
    with open_store(emptied(postgres), wait=0.1) as store:
        opened: Any = store
        with within(5), pytest.raises(StoreUnavailable, match=r"no reply within 1\.1 s"):  # noqa: SIM117
            with opened._connections.to_read() as connection:
                connection.exec_driver_sql("SELECT pg_sleep(20)")
        store.ping()


def test_what_was_deleted_is_not_left_in_the_file(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        store.put_history("secret-user", [HistoryEntry(f"secret-item-{n}") for n in range(200)])
        store.add_feedback(Feedback("secret-user", "secret-item", "click", 1.0, run="secret-run"))

        def bytes_on_disk() -> bytes:
            return b"".join(file.read_bytes() for file in tmp_path.iterdir())

        assert b"secret-" in bytes_on_disk()
        store.delete_user("secret-user")
        assert b"secret-" not in bytes_on_disk()


def test_the_settings_of_the_file_are_those_that_lose_nothing(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        opened: Any = store
        with opened._connections.to_write() as connection:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 2000}
