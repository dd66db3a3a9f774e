"""Attempts of all kinds, and the networks that accounts know, instead of failed log-ins."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
compatible_with = "0003"  # Code before it needs the table that is dropped.


def upgrade() -> None:
    """Create the tables, and drop the old one. Failed log-ins of the last 15 minutes are forgotten."""
    op.create_table(
        "attempts",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("counts_until", sa.BigInteger(), nullable=False),
    )
    op.create_index("attempts_of_a_subject", "attempts", ["subject", "at"])
    op.create_index("attempts_by_end", "attempts", ["counts_until"])
    op.create_table(
        "known_networks",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("network", sa.String(64), primary_key=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.drop_table("login_attempts")


def downgrade() -> None:
    """Drop the tables and their rows, and create the old one."""
    op.drop_table("known_networks")
    op.drop_table("attempts")
    op.create_table(
        "login_attempts",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_index("attempts_on_an_account", "login_attempts", ["account", "at"])
    op.create_index("attempts_from_a_network", "login_attempts", ["network", "at"])
    op.create_index("attempts_by_age", "login_attempts", ["at"])
