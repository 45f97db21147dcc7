"""The migrations make exactly the tables that the store works with."""

from __future__ import annotations

import hmac
import shutil
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Integer, create_engine, inspect, text

from deeprec.errors import StoreError
from deeprec.store import HistoryEntry, open_store
from deeprec.store.schema import _SCRIPTS, latest_version
from deeprec.store.tables import OWNED, USERS, VERSION_TABLE, metadata


def differences(store: Any, tables: Any = metadata) -> list[Any]:
    with store._connections.to_read() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), tables)


def test_tables_and_migrations_agree(store: Any) -> None:
    assert differences(store) == []


def test_the_comparison_sees_a_column_that_no_migration_makes(store: Any) -> None:
    changed = type(metadata)(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(changed)
    changed.tables["deeprec_users"].append_column(Column("shoe_size", Integer))
    assert [difference[0] for difference in differences(store, changed)] == ["add_column"]


def test_there_is_one_line_of_migrations() -> None:
    scripts = ScriptDirectory(str(_SCRIPTS))
    assert scripts.get_heads() == [latest_version()]
    assert scripts.get_base() == "0001"


def test_opening_again_changes_nothing(store: Any, store_url: str) -> None:
    def state() -> list[Any]:
        with store._connections.to_read() as connection:
            return [
                connection.execute(text(f"SELECT * FROM {table}")).all()
                for table in (VERSION_TABLE, "deeprec_secret")
            ]

    before = state()
    open_store(store_url).close()
    assert state() == before


MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", "0003"

def upgrade():
    op.create_table("deeprec_later", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO deeprec_later (id) VALUES (7)")
"""


def with_migration(folder: Path, text: str) -> Path:
    """The package's migrations and one more."""
    shutil.copytree(_SCRIPTS, folder)
    (folder / "versions" / "v9999_later.py").write_text(text)
    return folder


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_an_older_schema_is_brought_up_to_date(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(store_url) as store:
        store.put_history("u1", [HistoryEntry("i1")])
        store.delete_user("u2")
    with monkeypatch.context() as patch:
        patch.setattr("deeprec.store.schema._SCRIPTS", with_migration(tmp_path / "scripts", MIGRATION))
        with open_store(store_url, create=False) as store:
            assert store.info().schema == "9999"
            assert store.history("u1") == (HistoryEntry("i1"),)
            assert store.is_deleted("u2")  # the salt is the old one
    assert "deeprec_later" in tables(store_url)
    with pytest.raises(StoreError, match="schema '9999', made by a newer deeprec"):
        open_store(store_url)


FIRST = """
INSERT INTO deeprec_users (id, digest, user_id, history_stored) VALUES (1, :digest, 'u1', 5), (2, :other, NULL, NULL);
INSERT INTO deeprec_history (owner, position, item_id, timestamp, rating)
VALUES (1, 0, 'i1', 1.5e9, 4), (1, 1, 'i2', 1.6e12, 1e10);
INSERT INTO deeprec_feedback (id, owner, item_id, kind, value, time)
VALUES (1, 1, 'i3', 'rating', 1e300, 5), (2, 1, 'i3', 'rating', 2, 6)
"""


def test_a_store_of_the_first_schema_keeps_its_users(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(_SCRIPTS, tmp_path / "scripts")
    for script in (tmp_path / "scripts" / "versions").glob("v000[2-9]*"):
        script.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("deeprec.store.schema._SCRIPTS", tmp_path / "scripts")
        with open_store(store_url) as old:
            salt = old._salt  # type: ignore[attr-defined]
            digests = {
                "digest": hmac.digest(salt, b"u1", "sha256"),
                "other": hmac.digest(salt, b"gone", "sha256"),
            }
            with old._connections.to_write() as connection:  # type: ignore[attr-defined]
                for statement in FIRST.split(";"):
                    found = {name: digests[name] for name in digests if f":{name}" in statement}
                    connection.execute(text(statement), found)
    with open_store(store_url, create=False) as store:
        assert store.info().schema == latest_version()
        # What no reader could take is unknown now; all else is as it was.
        assert store.history("u1") == (HistoryEntry("i1", 1.5e9, 4.0), HistoryEntry("i2"))
        assert [(one.item_id, one.value) for one in store.feedback()] == [("i3", 2.0)]
        assert store.is_deleted("gone")
        assert store.tenants() == [""]
        assert differences(store) == []


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(store_url) as store:
        store.put_history("u1", [HistoryEntry("i1")])
    before = tables(store_url)
    broken = MIGRATION + "    op.execute('SELECT * FROM no_such_table')\n"
    with monkeypatch.context() as patch:
        patch.setattr("deeprec.store.schema._SCRIPTS", with_migration(tmp_path / "scripts", broken))
        with pytest.raises(StoreError, match="no_such_table"):
            open_store(store_url)
    assert tables(store_url) == before
    with open_store(store_url) as store:
        assert store.history("u1") == (HistoryEntry("i1"),)


def test_all_that_refers_to_a_user_is_emptied_with_them() -> None:
    refer = {
        table.name
        for table in metadata.sorted_tables
        for key in table.foreign_keys
        if key.column is USERS.c.id
    }
    assert {table.name for table in OWNED} == refer
    assert refer == {"deeprec_history", "deeprec_feedback"}
