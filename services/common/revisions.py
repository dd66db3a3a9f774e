"""Which migration the tables of a database are at, without Alembic: a process that starts seldom has one to run."""

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select, table

schema_compatibility = Table(
    "schema_compatibility",
    MetaData(),
    Column("revision", String(32), primary_key=True),
    Column("compatible_with", String(32), nullable=False),
)
"""One row: the revision of the tables, and the oldest revision whose code can work with them."""
_alembic = table("alembic_version", Column("version_num", String(32)))
"""Alembic's own table."""


def is_newest(connection: Connection, migrations: Path) -> bool:
    """Return whether the tables are at the newest of these migrations, so that there is nothing to do.

    The name of the file of a migration begins with its revision, a number. Return False also if this is not certain.
    """
    names = sorted(path.stem for path in (migrations / "versions").glob("*.py"))
    return bool(names) and recorded(connection).keys() == {names[-1].partition("_")[0]} == _current(connection)


def recorded(connection: Connection) -> dict[str, str]:
    """Return which code can work with the tables: the oldest revision, by the revision of the tables."""
    if not inspect(connection).has_table(schema_compatibility.name):
        return {}
    query = select(schema_compatibility.c.revision, schema_compatibility.c.compatible_with)
    return {row.revision: row.compatible_with for row in connection.execute(query)}


def _current(connection: Connection) -> set[str]:
    """Return the revisions that Alembic has noted. Migrations that follow one another leave one."""
    return set(connection.execute(select(_alembic.c.version_num)).scalars())
