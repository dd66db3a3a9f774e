"""An index by which old networks are found and deleted."""

from alembic import op

revision = "0004"
down_revision = "0003"
compatible_with = "0003"


def upgrade() -> None:
    """Create the index."""
    op.create_index("known_networks_by_age", "known_networks", ["at"])


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("known_networks_by_age", "known_networks")
