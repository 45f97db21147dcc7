"""What a user had said that they want is kept with their feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column; feedback that is there has no wish."""
    op.add_column("deeprec_feedback", sa.Column("wish", sa.String(500)))
