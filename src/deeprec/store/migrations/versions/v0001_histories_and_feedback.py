"""Histories and feedback of users, and the salt of the hashes that remain of the forgotten."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the four tables, and draw the salt."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    secret = op.create_table(
        "deeprec_secret",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("salt", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deeprec_secret"),
    )
    op.bulk_insert(secret, [{"id": 1, "salt": secrets.token_bytes(32)}])
    op.create_table(
        "deeprec_users",
        sa.Column("id", number, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("user_id", sa.String(256)),
        sa.Column("history_stored", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_deeprec_users"),
        sa.UniqueConstraint("digest", name="uq_deeprec_users_digest"),
    )
    op.create_table(
        "deeprec_history",
        sa.Column("owner", number, nullable=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("item_id", sa.String(256), nullable=False),
        sa.Column("timestamp", sa.Double),
        sa.Column("rating", sa.Double),
        sa.PrimaryKeyConstraint("owner", "position", name="pk_deeprec_history"),
        sa.ForeignKeyConstraint(
            ["owner"], ["deeprec_users.id"], ondelete="CASCADE", name="fk_deeprec_history_owner"
        ),
    )
    op.create_table(
        "deeprec_feedback",
        sa.Column("id", number, nullable=False),
        sa.Column("owner", number, nullable=False),
        sa.Column("item_id", sa.String(256), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("run", sa.String(256)),
        sa.Column("request_id", sa.String(128)),
        sa.Column("key", sa.String(128)),
        sa.PrimaryKeyConstraint("id", name="pk_deeprec_feedback"),
        sa.ForeignKeyConstraint(
            ["owner"], ["deeprec_users.id"], ondelete="CASCADE", name="fk_deeprec_feedback_owner"
        ),
        sa.UniqueConstraint("owner", "key", name="uq_deeprec_feedback_owner"),
        sa.CheckConstraint("kind IN ('impression', 'click', 'rating')", name="ck_deeprec_feedback_kind"),
    )
    op.create_index("ix_deeprec_feedback_time", "deeprec_feedback", ["time", "id"])
