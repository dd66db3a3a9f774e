"""services/common/migrations.py, and the migrations of every service"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from services.billing import app as billing
from services.billing import store as billing_store
from services.common.database import Database
from services.product import app as product
from services.product import store as product_store
from services.user import app as user
from services.user import store as user_store

pytestmark = pytest.mark.both_databases

SERVICES = [
    pytest.param(user.MIGRATIONS, user_store.metadata, id="user"),
    pytest.param(product.MIGRATIONS, product_store.metadata, id="product"),
    pytest.param(billing.MIGRATIONS, billing_store.metadata, id="billing"),
]

T = TypeVar("T")


async def on(url: str, work: Callable[[Connection], T]) -> T:
    """Return what `work` returns. It runs in a transaction of its own, without the code of the services."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def differences(metadata: MetaData) -> Callable[[Connection], Any]:
    """Return a function that compares the tables in the database with those of a store."""
    return lambda connection: compare_metadata(MigrationContext.configure(connection), metadata)


def tables(connection: Connection) -> list[str]:
    return inspect(connection).get_table_names()


@pytest.mark.parametrize(("migrations", "metadata"), SERVICES)
async def test_migrations_make_the_tables_of_the_store(migrations: Path, metadata: MetaData, database_url: str) -> None:
    """After all migrations the database has exactly the tables, columns and indexes that the store describes."""
    database = Database(database_url, migrations)
    await database.open()
    await database.close()
    assert await on(database_url, differences(metadata)) == []


@pytest.mark.parametrize(("migrations", "metadata"), SERVICES)
async def test_migrations_can_be_reverted(migrations: Path, metadata: MetaData, database_url: str) -> None:
    """A downgrade to the beginning leaves nothing behind, and an upgrade after it makes the same tables."""
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("path_separator", "os")

    def migrate(connection: Connection, to: str) -> list[str]:
        config.attributes["connection"] = connection
        (command.downgrade if to == "base" else command.upgrade)(config, to)
        return tables(connection)

    for _ in range(2):
        made = await on(database_url, lambda connection: migrate(connection, "head"))
        assert sorted(made) == sorted([*metadata.tables, "alembic_version"])
        assert await on(database_url, differences(metadata)) == []
        assert await on(database_url, lambda connection: migrate(connection, "base")) == ["alembic_version"]
