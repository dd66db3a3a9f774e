"""services/common/migrations.py, and the migrations of every service"""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect, text

from mstoken.testing import FakeFirebase
from services.billing import app as billing
from services.billing import store as billing_store
from services.common.database import Database
from services.common.migrations import SchemaTooNew, oldest_compatible
from services.product import app as product
from services.product import store as product_store
from services.product.settings import ProductSettings
from services.user import app as user
from services.user import store as user_store
from tests.services.databases import on
from tests.services.shop import answered, serving

pytestmark = pytest.mark.both_databases

SERVICES = [
    pytest.param(user.MIGRATIONS, user_store.metadata, id="user"),
    pytest.param(product.MIGRATIONS, product_store.metadata, id="product"),
    pytest.param(billing.MIGRATIONS, billing_store.metadata, id="billing"),
]

OF_MIGRATIONS = ["alembic_version", "schema_compatibility"]
"""The tables that tell which migrations have run."""
SEARCH = "product_search"
"""How the names begin of what SQLite and PostgreSQL need for the search, which differs."""

MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{after}"
{compatibility}


def upgrade():
    op.create_table("table_{revision}", sa.Column("id", sa.Integer(), primary_key=True))


def downgrade():
    op.drop_table("table_{revision}")
"""


def differences(metadata: MetaData) -> Callable[[Connection], Any]:
    """Return a function that compares the tables in the database with those of a store."""

    def is_of_the_store(_object: object, name: str | None, *_more: object) -> bool:
        return name not in OF_MIGRATIONS and not str(name).startswith(SEARCH)

    def compare(connection: Connection) -> Any:
        context = MigrationContext.configure(connection, opts={"include_object": is_of_the_store})
        return compare_metadata(context, metadata)

    return compare


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

    def of_a_store(names: list[str]) -> list[str]:
        return sorted(name for name in names if not name.startswith(SEARCH) and name not in OF_MIGRATIONS)

    for _ in range(2):
        made = await on(database_url, lambda connection: migrate(connection, "head"))
        assert of_a_store(made) == sorted(metadata.tables)
        assert await on(database_url, differences(metadata)) == []
        assert sorted(await on(database_url, lambda connection: migrate(connection, "base"))) == OF_MIGRATIONS


class Versions:
    """The versions of a service: the present one, and newer ones, which have migrations of their own."""

    def __init__(self, folder: Path, migrations: Path) -> None:
        self._folder = folder
        self.present = migrations
        self.newest = migrations
        self._revision = scripts(migrations)[-1].revision

    def add(self, revision: str, compatible_with: str | None) -> Path:
        """Add a version with one migration more, and return its migrations."""
        folder = self._folder / revision
        copytree(self.newest, folder, ignore=ignore_patterns("__pycache__"))
        compatibility = "" if compatible_with is None else f'compatible_with = "{compatible_with}"'
        migration = MIGRATION.format(revision=revision, after=self._revision, compatibility=compatibility)
        (folder / "versions" / f"{revision}_new.py").write_text(migration)
        self.newest, self._revision = folder, revision
        return folder


def config_of(migrations: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("path_separator", "os")
    return config


def scripts(migrations: Path) -> list[Any]:
    """Return the migrations in a folder, the first one first."""
    return list(ScriptDirectory.from_config(config_of(migrations)).walk_revisions())[::-1]


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path, product.MIGRATIONS)


async def start(url: str, migrations: Path) -> None:
    """Open the database as the version of a service with these migrations does."""
    database = Database(url, migrations)
    try:
        await database.open()
        await database.ready()
    finally:
        await database.close()


async def compatibility(url: str) -> list[tuple[str, str]]:
    rows = text("SELECT revision, compatible_with FROM schema_compatibility")
    return await on(url, lambda connection: [(row[0], row[1]) for row in connection.execute(rows)])


@pytest.mark.parametrize(("migrations", "metadata"), SERVICES)
async def test_a_version_before_the_latest_migration(
    migrations: Path, metadata: MetaData, database_url: str, tmp_path: Path
) -> None:
    """The version before the latest migration starts on the new tables, if the migration says that it can."""
    *_, before, latest = scripts(migrations)
    old = tmp_path / "old"
    copytree(migrations, old, ignore=ignore_patterns("__pycache__", Path(latest.path).name))
    await start(database_url, migrations)
    if latest.module.compatible_with == latest.revision:
        with pytest.raises(SchemaTooNew):
            await start(database_url, old)
    else:
        assert latest.module.compatible_with <= before.revision
        await start(database_url, old)
    assert await on(database_url, differences(metadata)) == []


async def test_an_old_version_serves_on_newer_tables(
    versions: Versions, database_url: str, firebase: FakeFirebase, caplog: pytest.LogCaptureFixture
) -> None:
    """After a roll-out of compatible migrations the present version starts, serves, and leaves the tables alone."""
    head = scripts(versions.present)[-1].revision
    versions.add("9001", head)
    await start(database_url, versions.add("9002", head))
    app = product.create_app(ProductSettings(database_url=database_url), verifier=firebase.verifier("product"))
    async with serving(app) as client:
        headers = firebase.user_headers("maya")
        assert answered(await client.get("/products", headers=headers))["items"] == []
        assert answered(await client.get("/readyz"))["status"] == "ready"
    assert "the database is at revision 9002 of a newer version, which this version is compatible with" in caplog.text
    assert {"table_9001", "table_9002"} <= set(await on(database_url, tables))


async def test_an_incompatible_version_refuses_to_start(
    versions: Versions, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Tables that this version cannot work with keep it from starting. Its message says which version is needed."""
    head = scripts(versions.present)[-1].revision
    await start(database_url, versions.add("9001", "9001"))
    expected = (
        f"The database is at revision 9001, and the newest migration of this version is {head}. Its tables need a "
        "version with migration 9001 or a newer one. Start such a version, or restore the backup from before the "
        "migration."
    )
    with pytest.raises(SchemaTooNew) as refused:
        await start(database_url, versions.present)
    assert str(refused.value) == expected
    assert expected in caplog.text


async def test_an_incompatible_migration_stays_incompatible(versions: Versions, database_url: str) -> None:
    """A compatible migration after an incompatible one does not let in code from before both."""
    head = scripts(versions.present)[-1].revision
    middle = versions.add("9001", "9001")
    await start(database_url, versions.add("9002", head))
    assert await compatibility(database_url) == [("9002", "9001")]
    await start(database_url, middle)
    with pytest.raises(SchemaTooNew):
        await start(database_url, versions.present)


async def test_a_revision_of_which_nothing_is_known(versions: Versions, database_url: str) -> None:
    """A database at a revision that no one has written down is refused."""
    await start(database_url, versions.present)
    await on(database_url, lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = 'x'")))
    with pytest.raises(SchemaTooNew, match="need a version that knows it"):
        await start(database_url, versions.present)


async def test_a_downgrade_is_written_down(versions: Versions, database_url: str) -> None:
    """After a downgrade, the versions that can work with the tables of then can start."""
    head = scripts(versions.present)[-1].revision
    newest = versions.add("9001", "9001")
    await start(database_url, newest)
    config = config_of(newest)

    def downgrade(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.downgrade(config, head)

    await on(database_url, downgrade)
    await start(database_url, versions.present)
    assert [revision for revision, _ in await compatibility(database_url)] == [head]


@pytest.mark.parametrize("compatible_with", [None, "9002", "nothing"])
async def test_a_migration_must_say_what_it_is_compatible_with(
    versions: Versions, database_url: str, compatible_with: str | None
) -> None:
    """A migration that does not say it, or names one that is not before it, does not run."""
    migrations = versions.add("9001", compatible_with)
    with pytest.raises(ValueError, match="Migration 9001 must set compatible_with"):
        await start(database_url, migrations)
    assert "table_9001" not in await on(database_url, tables)


@pytest.mark.parametrize(("migrations", "metadata"), SERVICES)
def test_which_versions_can_work_with_the_present_tables(migrations: Path, metadata: MetaData) -> None:
    """Every migration of every service says it."""
    assert oldest_compatible(scripts(migrations)) in {script.revision for script in scripts(migrations)}
