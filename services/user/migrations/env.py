"""Alembic's entry into the User service's migrations."""

from services.common.migrations import run
from services.user.store import metadata

run(metadata)
