"""Profiles."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
compatible_with = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "profiles",
        sa.Column("uid", sa.String(128), primary_key=True),
        sa.Column("email", sa.String(320)),
        sa.Column("display_name", sa.String(200)),
        sa.Column("phone", sa.String(16)),
        sa.Column("address", sa.JSON()),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Drop the table and its rows."""
    op.drop_table("profiles")
