"""The version of a store's schema, and bringing it up to date."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from deeprec.errors import StoreError
from deeprec.store.tables import VERSION_TABLE

_SCRIPTS = Path(__file__).with_name("migrations")
_LOCK = 0x646565707265  # of PostgreSQL's advisory locks, ours by convention: "deepre"
_alembic = threading.Lock()  # its scripts see the migration through a module-wide proxy


def latest_version() -> str:
    """The schema that this deeprec works with."""
    return str(ScriptDirectory(str(_SCRIPTS)).get_current_head())


def current_version(connection: Connection) -> str | None:
    """The schema of the database; None before there is any."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def check_version(version: str, place: str) -> None:
    """Raise StoreError for a schema that this deeprec doesn't know."""
    known = {script.revision for script in ScriptDirectory(str(_SCRIPTS)).walk_revisions()}
    if version not in known:
        raise StoreError(
            f"{place}: has schema '{version}', made by a newer deeprec (this one knows up to '{latest_version()}'); "
            "upgrade deeprec, or name another store"
        )


def upgrade(connection: Connection, place: str) -> None:
    """Bring the schema up to date within the connection's transaction.

    One process at a time: SQLite's writing transaction excludes the others, PostgreSQL has
    a lock for it, given up with the transaction.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    version = current_version(connection)  # again: another process may have been faster
    if version is not None:
        check_version(version, place)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    with _alembic:
        command.upgrade(config, "head")
