"""services/common/migrations.py, with the migrations of every service"""

from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, inspect

from services.billing import app as billing
from services.billing import store as billing_store
from services.common.database import Database
from services.product import app as product
from services.product import store as product_store
from services.user import app as user
from services.user import store as user_store

SERVICES = [
    pytest.param(user.MIGRATIONS, user_store.metadata, id="user"),
    pytest.param(product.MIGRATIONS, product_store.metadata, id="product"),
    pytest.param(billing.MIGRATIONS, billing_store.metadata, id="billing"),
]


@pytest.mark.parametrize(("migrations", "metadata"), SERVICES)
async def test_migrations_make_the_tables_that_the_store_knows(
    migrations: Path, metadata: MetaData, tmp_path: Path
) -> None:
    """After all migrations the database is as the service's store describes it, to the last index."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}", migrations)
    await database.open()
    await database.close()
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.connect() as connection:
        differences: Any = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


@pytest.mark.parametrize(("migrations", "metadata"), SERVICES)
def test_migrations_can_be_taken_back(migrations: Path, metadata: MetaData, tmp_path: Path) -> None:
    """Downgrading to the beginning leaves no table of ours behind."""
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        command.downgrade(config, "base")
        left = inspect(connection).get_table_names()
    engine.dispose()
    assert left == ["alembic_version"]
    assert metadata.tables
