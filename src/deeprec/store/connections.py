"""Transactions of a store: many read at a time, and those who write to SQLite queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from deeprec.errors import StoreUnavailable
from deeprec.store.engines import translated, without_transaction, writing


class Connections:
    """Connections of one engine to `place`, shared by threads; who writes waits `wait` seconds for its turn.

    Errors of the database come as `engines.translated` says.
    """

    def __init__(self, engine: Engine, place: str, wait: float) -> None:
        self.sqlite = engine.dialect.name == "sqlite"
        self._engine, self._writes = engine, writing(engine)
        self._place, self._wait = place, wait
        # SQLite has one writer at a time, and lets those who wait try at random: threads queue here instead.
        self._writer = threading.RLock()

    @contextmanager
    def to_read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with translated(self._place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def to_write(self) -> Iterator[Connection]:
        """A transaction that writes, when it is its turn."""
        with translated(self._place), self.turn(), self._writes.begin() as connection:
            yield connection

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within the block no other thread writes to SQLite; raises StoreUnavailable where that takes too long."""
        if not self.sqlite:
            yield
            return
        if not self._writer.acquire(timeout=self._wait):
            raise StoreUnavailable(f"{self._place}: too many wait to write; try again later")
        try:
            yield
        finally:
            self._writer.release()

    def empty_log(self) -> None:
        """Write SQLite's log back and cut it, so that what was deleted isn't left in it."""
        if not self.sqlite:
            return
        # Readers may keep it for a while; the next deletion, or closing the store, empties it then.
        with suppress(OperationalError), without_transaction(self._engine).connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close all of them."""
        self._engine.dispose()
