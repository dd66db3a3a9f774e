"""Alembic runs this module to run Billing's migrations."""

from services.billing.store import metadata
from services.common.migrations import run

run(metadata)
