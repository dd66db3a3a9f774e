"""services/common/revisions.py: a process that has nothing to migrate finds that out without Alembic"""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from services.billing.app import MIGRATIONS as OF_BILLING
from services.common.database import Database
from services.common.revisions import is_newest
from services.product.app import MIGRATIONS as OF_PRODUCT
from services.user.app import MIGRATIONS as OF_USER
from tests.services.databases import on

SERVICES = [
    pytest.param(OF_USER, id="user"),
    pytest.param(OF_PRODUCT, id="product"),
    pytest.param(OF_BILLING, id="billing"),
]


@pytest.mark.parametrize("migrations", SERVICES)
def test_the_name_of_a_file_begins_with_its_revision(migrations: Path) -> None:
    """So the newest migration is the last file, in the order of their names."""
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("path_separator", "os")
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    names = [path.stem.partition("_")[0] for path in (migrations / "versions").glob("*.py")]
    assert sorted(names, reverse=True) == revisions


@pytest.mark.both_databases
@pytest.mark.parametrize("migrations", SERVICES)
async def test_tables_of_all_migrations_are_the_newest(migrations: Path, database_url: str) -> None:
    """An empty database is not, and one that was migrated is."""

    def at_the_end(connection: Connection) -> bool:
        return is_newest(connection, migrations)

    assert not await on(database_url, at_the_end)
    database = Database(database_url, migrations)
    await database.open()
    await database.close()
    assert await on(database_url, at_the_end)


@pytest.mark.both_databases
@pytest.mark.parametrize("table", ["alembic_version SET version_num", "schema_compatibility SET revision"])
async def test_another_revision_is_not_the_newest(table: str, database_url: str) -> None:
    """Alembic decides about an older one, a newer one, and one of which only one of the two tables knows."""
    database = Database(database_url, OF_PRODUCT)
    await database.open()
    await database.close()
    await on(database_url, lambda connection: connection.execute(text(f"UPDATE {table} = '0001'")))
    assert not await on(database_url, lambda connection: is_newest(connection, OF_PRODUCT))
