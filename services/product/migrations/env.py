"""Alembic runs this module to run Product's migrations."""

from services.common.migrations import run
from services.product.store import metadata

run(metadata)
