"""Connections to SQLite and PostgreSQL that wait for a bounded time, and their errors as ours."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, TimeoutError

from deeprec.errors import MissingExtraError, StoreError, StoreUnavailable

FORMS = "write sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
_BEGIN = "deeprec_begin"
_SECRETS = ("password", "sslpassword")
_REMEDIES = {  # of the databases' messages, by a part of them
    "locked": "wait, or end the process that writes to it",
    "lock timeout": "wait, or end the transaction that holds it",
    "unable to open": "check that its folder exists and can be written",
    "readonly": "make the file and its folder writable",
    "full": "free space on the disk",
    "not a database": "name another file; this one is left as it is",
    "malformed": "restore a copy of it, or name another file",
    "permission denied": "give its user the right to do so",
}
_PASSING = "check that the database runs and that the URL is right, and try again"
_LASTING = "check the database, or name another store"


def parse_url(url: str) -> URL:
    """The URL of a store; raises StoreError, without repeating a password, for any other."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(f"the store's URL can't be read; {FORMS}") from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite":
        path = parsed.database or ""
        if parsed.host or parsed.query or path in ("", ":memory:") or path.startswith("file:"):
            raise StoreError(f"store {place_of(parsed)}: names no file; {FORMS}")
        return parsed.set(database=str(Path(path).expanduser()))
    if parsed.drivername != "postgresql+psycopg":
        raise StoreError(f"unknown kind of store '{parsed.drivername}'; {FORMS}")
    return parsed


def place_of(url: URL) -> str:
    """The URL as errors may show it: without passwords."""
    hidden = {name: "***" for name in _SECRETS if name in url.query}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def make_engine(url: URL, *, create: bool, wait: float) -> Engine:
    """An engine whose waits are bounded by `wait` seconds; nothing is connected yet.

    A file is made (readable by its owner alone) where there is none and `create` says so.
    """
    return _sqlite(url, create, wait) if url.drivername == "sqlite" else _postgres(url, wait)


def writing(engine: Engine) -> Engine:
    """The same engine for transactions that write."""
    return engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


def without_transaction(engine: Engine) -> Engine:
    """The same engine for SQLite's pragmas that no transaction may hold."""
    return engine.execution_options(**{_BEGIN: None})


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Errors of the database as StoreUnavailable or StoreError, without statements or values."""
    try:
        yield
    except TimeoutError:
        raise StoreUnavailable(f"{place}: all connections are in use; try again later") from None
    except DBAPIError as error:
        lines = str(error.orig).strip().splitlines()
        reason = lines[0] if lines else type(error.orig).__name__
        passing = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
        passing = passing and not reason.startswith("no such")  # SQLite: a table or column is gone
        kind = StoreUnavailable if passing else StoreError
        remedies = (remedy for part, remedy in _REMEDIES.items() if part in reason.lower())
        remedy = next(remedies, _PASSING if passing else _LASTING)
        raise kind(f"{place}: {reason}; {remedy}") from None


def _sqlite(url: URL, create: bool, wait: float) -> Engine:
    file = Path(url.database or "")
    if file.is_dir():
        raise StoreError(f"{place_of(url)}: is a folder; name a file in it")
    if not file.exists():
        if not create:
            raise StoreError(f"{place_of(url)}: no store here; check the path, or serve a run with it once")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreError(
                f"{place_of(url)}: can't be made ({error.strerror}); choose a folder that can be written"
            ) from None
    engine = create_engine(
        url,
        connect_args={"timeout": wait, "isolation_level": None},
        hide_parameters=True,
        **_pool(wait),
    )

    @event.listens_for(engine, "connect")
    def settle(connection: Any, _: Any) -> None:
        for setting in ("foreign_keys = ON", "synchronous = FULL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {setting}")

    # The driver would begin late and without a lock; a transaction that reads first and writes then would fail at
    # once instead of waiting its turn.
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get(_BEGIN, "BEGIN")
        if statement:
            connection.exec_driver_sql(statement)

    return engine


def _postgres(url: URL, wait: float) -> Engine:
    try:
        from deeprec.store.postgres import BoundedConnection
    except ImportError:
        raise MissingExtraError("a store in PostgreSQL", "postgres") from None
    milliseconds = max(1, round(wait * 1000))
    engine = create_engine(
        url,
        connect_args={
            "connect_timeout": math.ceil(wait),  # the driver waits two seconds at least
            "tcp_user_timeout": milliseconds,
            "application_name": "deeprec",
        },
        pool_pre_ping=True,  # a server that was started again is no error
        hide_parameters=True,
        **_pool(wait),
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: list[Any], settings: dict[str, Any]) -> Any:
        connection = BoundedConnection.connect(*arguments, **settings)
        connection.bound = wait + 1  # a lock is given up before
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (str(milliseconds),))
        connection.commit()
        return connection

    return engine


def _pool(wait: float) -> dict[str, Any]:
    return {"pool_size": 8, "max_overflow": 24, "pool_timeout": wait}
