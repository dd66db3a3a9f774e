"""Reservations with their lines."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
compatible_with = "0002"  # Code before it refuses the reservations of Billing.


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "reservations",
        sa.Column("bill_id", sa.String(32), primary_key=True),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("reservations_by_expiry", "reservations", ["status", "expires_at"])
    op.create_table(
        "reservation_lines",
        sa.Column("bill_id", sa.String(32), sa.ForeignKey("reservations.bill_id"), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("product_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
    )


def downgrade() -> None:
    """Put what is held back in stock, and drop the tables and their rows."""
    op.execute(
        "UPDATE products SET stock = stock + (SELECT coalesce(sum(quantity), 0) FROM reservation_lines "
        "JOIN reservations ON reservations.bill_id = reservation_lines.bill_id "
        "WHERE reservations.status = 'held' AND reservation_lines.product_id = products.id)"
    )
    op.drop_table("reservation_lines")
    op.drop_table("reservations")
