"""Alembic runs this module to run User's migrations."""

from services.common.migrations import run
from services.user.store import metadata

run(metadata)
