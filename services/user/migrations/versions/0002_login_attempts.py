"""Failed log-ins."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
compatible_with = "0002"  # Code before it does not limit log-ins.


def upgrade() -> None:
    """Create the table."""
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


def downgrade() -> None:
    """Drop the table and its rows."""
    op.drop_table("login_attempts")
