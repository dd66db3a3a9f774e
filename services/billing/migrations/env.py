"""Alembic's entry into the Billing service's migrations."""

from services.billing.store import metadata
from services.common.migrations import run

run(metadata)
