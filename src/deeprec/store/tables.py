"""The store's tables. What changes here needs a migration as well; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

from deeprec.store.base import FEEDBACK_KINDS, ID_LENGTH, KEY_LENGTH, TENANT_LENGTH
from deeprec.wishes.text import LONGEST_WISH

# The database may hold other people's tables too, hence the prefix.
VERSION_TABLE = "deeprec_schema"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up an INTEGER alone

# One row, made with the schema: the key of the hashes below.
SECRET = Table(
    "deeprec_secret",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("salt", LargeBinary(32), nullable=False),
)

# A row for each user that was ever here; the same id in two tenants is two users. `user_id` is empty for the
# forgotten, whose hash alone remains. Whoever writes about a user locks this row first, so that nothing slips in
# behind a deletion.
USERS = Table(
    "deeprec_users",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("tenant", String(TENANT_LENGTH), nullable=False, server_default=""),
    Column("user_id", String(ID_LENGTH)),
    Column("history_stored", Double),  # seconds since 1970; null: no history was put
    Index(None, "tenant", "id"),
)

HISTORY = Table(
    "deeprec_history",
    metadata,
    Column("owner", ForeignKey(USERS.c.id, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("item_id", String(ID_LENGTH), nullable=False),
    Column("timestamp", Double),
    Column("rating", Double),
)

_KINDS = ", ".join(f"'{kind}'" for kind in FEEDBACK_KINDS)

_TAKEN = text("kind <> 'impression'")

FEEDBACK = Table(
    "deeprec_feedback",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("owner", ForeignKey(USERS.c.id, ondelete="CASCADE"), nullable=False),
    Column("item_id", String(ID_LENGTH), nullable=False),
    Column("kind", String(16), CheckConstraint(f"kind IN ({_KINDS})", name="kind"), nullable=False),
    Column("value", Double),
    Column("time", Double, nullable=False),
    Column("run", String(ID_LENGTH)),
    Column("request_id", String(KEY_LENGTH)),
    Column("key", String(KEY_LENGTH)),
    Column("wish", String(LONGEST_WISH)),
    UniqueConstraint("owner", "key"),
    Index(None, "time", "id"),
    # What a user took, the latest first, however many impressions there are.
    Index("ix_deeprec_feedback_taken", "owner", "time", "id", sqlite_where=_TAKEN, postgresql_where=_TAKEN),
)

# Everything that hangs on a user, a later table too: this is what forgetting empties.
OWNED = tuple(table for table in metadata.sorted_tables if "owner" in table.c)
