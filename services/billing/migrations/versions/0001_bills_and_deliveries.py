"""Bills with their lines, and deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
compatible_with = "0001"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "bills",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("uid", sa.String(128), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.UniqueConstraint("uid", "idempotency_key", name="one_bill_for_a_key"),
    )
    op.create_index("bills_of_a_user", "bills", ["uid", "id"])
    op.create_table(
        "bill_lines",
        sa.Column("bill_id", sa.String(32), sa.ForeignKey("bills.id"), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("product_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("unit_amount", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("bill_id", sa.String(32), sa.ForeignKey("bills.id"), nullable=False, unique=True),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("address", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables and their rows."""
    op.drop_table("deliveries")
    op.drop_table("bill_lines")
    op.drop_table("bills")
