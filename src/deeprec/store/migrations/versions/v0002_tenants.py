"""Users of several tenants; what a user took is found without reading their impressions; no impossible times."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TEN_YEARS = 10 * 365.25 * 86_400  # seconds


def upgrade() -> None:
    """Add a column and two indexes; times and ratings that the store took before it checked them go."""
    op.add_column("deeprec_users", sa.Column("tenant", sa.String(64), nullable=False, server_default=""))
    op.create_index("ix_deeprec_users_tenant", "deeprec_users", ["tenant", "id"])
    taken = sa.text("kind <> 'impression'")
    op.create_index(
        "ix_deeprec_feedback_taken",
        "deeprec_feedback",
        ["owner", "time", "id"],
        sqlite_where=taken,
        postgresql_where=taken,
    )
    history = sa.table("deeprec_history", sa.column("timestamp", sa.Double), sa.column("rating", sa.Double))
    # Milliseconds, mostly: such a history could be read by nobody, and stopped every export.
    late = history.c.timestamp > time.time() + _TEN_YEARS
    op.execute(history.update().where(late).values(timestamp=None))
    op.execute(history.update().where(sa.func.abs(history.c.rating) > 1e9).values(rating=None))
    feedback = sa.table("deeprec_feedback", sa.column("value", sa.Double))
    op.execute(feedback.delete().where(sa.func.abs(feedback.c.value) > 1e9))
