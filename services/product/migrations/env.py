"""Alembic's entry into the Product service's migrations."""

from services.common.migrations import run
from services.product.store import metadata

run(metadata)
