"""Run by Alembic when a store is opened; the connection, and its transaction, come from there."""

from alembic import context

from deeprec.store.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
