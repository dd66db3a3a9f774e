"""The trace of the request that a delivery was requested with.

The column may be empty, so a version that does not know it works on this schema too.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
compatible_with = "0003"


def upgrade() -> None:
    """Add the column to the outbox."""
    op.add_column("outbox", sa.Column("traceparent", sa.String(55), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("outbox", "traceparent")
