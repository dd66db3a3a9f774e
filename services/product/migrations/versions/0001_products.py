"""Products."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
compatible_with = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "products",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("stock", sa.Integer(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.CheckConstraint("stock >= 0", name="stock_not_negative"),
    )


def downgrade() -> None:
    """Drop the table and its rows."""
    op.drop_table("products")
