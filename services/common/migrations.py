"""The migrations of a service: what their `env.py` runs, and which versions of a service can work with which tables.

While a service is rolled out, and after it was rolled back, an old version meets tables that a newer one has migrated.
So each migration says in `compatible_with` which code can work with what it leaves behind: code that knows the revision
that it names. This is written to the table `schema_compatibility`, where code without the migration can read it.
services/README.md, "Migrations", has the rules for writers of migrations.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, MetaData, delete, insert

from mstoken.log_events import log_event
from services.common.revisions import recorded, schema_compatibility

_log = logging.getLogger("services.database")


class SchemaTooNew(Exception):
    """The tables are those of a newer version of the service, with which this version cannot work."""


def upgrade(connection: Connection, migrations: Path) -> None:
    """Run the missing migrations in the transaction of the connection.

    A newer version of the service may have run migrations that this one does not know. Raises `SchemaTooNew` if this
    version cannot work with them.
    """
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None or knows(script, revision):
        command.upgrade(config, "head")
        return
    try:
        check_compatible(connection, script, revision)
    except SchemaTooNew as error:
        log_event(_log, logging.CRITICAL, "schema_too_new", str(error), revision=revision)
        raise
    message = f"the database is at revision {revision} of a newer version, which this version is compatible with"
    log_event(_log, logging.WARNING, "schema_newer", message, revision=revision)


def run(metadata: MetaData) -> None:
    """Run Alembic's migrations on the connection that `services.common.database` opened, in its transaction.

    `metadata` describes the tables of the service's store.
    """
    connection: Connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
        _record(connection, context.script, context.get_context().get_current_revision())


def knows(script: ScriptDirectory, revision: str | None) -> bool:
    """Return whether `revision` is one of the migrations in `script`. Every version knows an empty database, None."""
    return revision is None or any(known.revision == revision for known in script.walk_revisions())


def check_compatible(connection: Connection, script: ScriptDirectory, revision: str) -> None:
    """Check that code with the migrations in `script` can work with tables of a revision that it does not know.

    Raises `SchemaTooNew`.
    """
    newest = script.get_current_head()
    required = recorded(connection).get(revision)
    if required is not None and knows(script, required):
        return
    needed = "a version that knows it" if required is None else f"a version with migration {required} or a newer one"
    raise SchemaTooNew(
        f"The database is at revision {revision}, and the newest migration of this version is {newest}. Its tables "
        f"need {needed}. Start such a version, or restore the backup from before the migration."
    )


def oldest_compatible(migrations: Iterable[Script]) -> str:
    """Return the oldest revision whose code can work with the tables that `migrations`, in their order, have made.

    Raises `ValueError` if a migration does not say what it is compatible with, or names a revision that comes later.
    """
    order: list[str] = []
    oldest = 0
    for migration in migrations:
        order.append(migration.revision)
        compatible_with = getattr(migration.module, "compatible_with", None)
        if compatible_with not in order:
            raise ValueError(
                f"Migration {migration.revision} must set compatible_with to its own revision, or to one before it."
            )
        oldest = max(oldest, order.index(compatible_with))
    return order[oldest]


def _record(connection: Connection, script: ScriptDirectory, revision: str | None) -> None:
    """Write down which code can work with the tables, unless that is known already."""
    schema_compatibility.create(connection, checkfirst=True)
    migrations = list(script.iterate_revisions(revision, "base"))[::-1] if revision else []
    rows = {revision: oldest_compatible(migrations)} if revision else {}
    if rows != recorded(connection):
        connection.execute(delete(schema_compatibility))
        for known, compatible_with in rows.items():
            connection.execute(insert(schema_compatibility).values(revision=known, compatible_with=compatible_with))
