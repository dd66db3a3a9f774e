"""The outbox, with the deliveries that have not ended."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
compatible_with = "0003"  # No one hands over the deliveries of code before it.


def upgrade() -> None:
    """Create the table. Deliveries that were requested before are due at once."""
    op.create_table(
        "outbox",
        sa.Column("delivery_id", sa.String(32), sa.ForeignKey("deliveries.id"), primary_key=True),
        sa.Column("hand_overs", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease", sa.String(32), nullable=True),
    )
    op.create_index("outbox_by_due_time", "outbox", ["due_at"])
    op.execute(
        "INSERT INTO outbox (delivery_id, hand_overs, failures, due_at)"
        " SELECT id, 0, 0, updated_at FROM deliveries WHERE status IN ('requested', 'dispatched')"
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("outbox")
