"""From a URL to a store with a current schema."""

from __future__ import annotations

import time

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from deeprec.errors import StoreError
from deeprec.store.engines import make_engine, parse_url, place_of, translated, without_transaction, writing
from deeprec.store.schema import check_version, current_version, latest_version, upgrade
from deeprec.store.sql import SqlStore


def open_sql_store(url: str, *, create: bool, wait: float) -> SqlStore:
    """See `deeprec.store.open_store`."""
    parsed = parse_url(url)
    place = place_of(parsed)
    engine = make_engine(parsed, create=create, wait=wait)
    try:
        with translated(place):
            if parsed.drivername == "sqlite":
                _log_ahead(engine, wait)
            _bring_up_to_date(engine, place, create)
            return SqlStore(engine, place, wait)
    except BaseException:
        engine.dispose()
        raise


def _bring_up_to_date(engine: Engine, place: str, create: bool) -> None:
    with engine.connect() as connection:
        version = current_version(connection)
    if version is None and not create:
        raise StoreError(f"{place}: holds no store; check the URL, or serve a run with it once")
    if version is not None:
        check_version(version, place)
    if version != latest_version():
        with writing(engine).begin() as connection:
            upgrade(connection, place)


def _log_ahead(engine: Engine, wait: float) -> None:
    """SQLite's write-ahead log: readers and the writer don't wait for each other; stays with the file."""
    deadline = time.monotonic() + wait
    while True:
        try:
            with without_transaction(engine).connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except OperationalError:  # SQLite doesn't wait here by itself while another process makes the file
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
