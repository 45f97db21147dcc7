"""The migrations make exactly the tables that the store works with."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Integer, text

from deeprec.store import open_store
from deeprec.store.schema import _SCRIPTS, latest_version
from deeprec.store.tables import OWNED, USERS, VERSION_TABLE, metadata


def differences(store: Any, tables: Any = metadata) -> list[Any]:
    with store._engine.connect() as connection:
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
        with store._engine.connect() as connection:
            return [
                connection.execute(text(f"SELECT * FROM {table}")).all()
                for table in (VERSION_TABLE, "deeprec_secret")
            ]

    before = state()
    open_store(store_url).close()
    assert state() == before


def test_all_that_refers_to_a_user_is_emptied_with_them() -> None:
    refer = {
        table.name
        for table in metadata.sorted_tables
        for key in table.foreign_keys
        if key.column is USERS.c.id
    }
    assert {table.name for table in OWNED} == refer
    assert refer == {"deeprec_history", "deeprec_feedback"}
