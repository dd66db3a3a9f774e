"""Fixtures for the tests of the services: databases, a Firebase in memory, and the Product service over both."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import httpx
import pytest

from mstoken.testing import FakeFirebase
from mstoken.wire import MODES, Mode
from services.common.database import Database
from services.product.app import MIGRATIONS, create_app
from services.product.settings import ProductSettings
from tests.postgresql import PostgresServer
from tests.services.shop import BASE_URL, serving

Template: TypeAlias = Callable[[Path], Path]
"""Migrations of a service -> an SQLite file with its tables."""


class NewDatabase(Protocol):
    """Makes a database and returns its URL: empty, or with the tables of a service, whose migrations are given."""

    def __call__(self, migrations: Path | None = None) -> str: ...


async def migrate(url: str, migrations: Path) -> None:
    """Make a service's tables."""
    database = Database(url, migrations)
    await database.open()
    await database.close()


def run_in_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in an event loop of its own: the caller may be in one already."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def sqlite_template(memory_folder: Path) -> Template:
    """SQLite files to copy from: copying one is faster than migrating a new one."""
    templates: dict[Path, Path] = {}

    def template(migrations: Path) -> Path:
        if migrations not in templates:
            path = memory_folder / f"template-{len(templates)}.db"
            run_in_thread(migrate(sqlite_url(path), migrations))
            templates[migrations] = path
        return templates[migrations]

    return template


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests on both databases or in both modes, if they are marked so and have a database or a mode.

    All other tests run on SQLite, in fresh mode.
    """
    both_databases = metafunc.definition.get_closest_marker("both_databases")
    both_modes = metafunc.definition.get_closest_marker("both_modes")
    match "database_kind" in metafunc.fixturenames, "mode" in metafunc.fixturenames:
        case True, True if both_databases:
            metafunc.parametrize(("database_kind", "mode"), [("sqlite", "fresh"), ("postgresql", "proof")])
        case True, False if both_databases:
            metafunc.parametrize("database_kind", ["sqlite", "postgresql"])
        case _, True if both_modes:
            metafunc.parametrize("mode", MODES)


@pytest.fixture
def database_kind() -> str:
    """The kind of database: "sqlite" or "postgresql"."""
    return "sqlite"


@pytest.fixture
def mode() -> Mode:
    """How the services call each other."""
    return "fresh"


@pytest.fixture
def new_database(request: pytest.FixtureRequest, database_kind: str) -> NewDatabase:
    """Makes databases of one kind, which are gone after the test."""
    made: NewDatabase = request.getfixturevalue(f"{database_kind}_databases")
    return made


@pytest.fixture
def sqlite_databases(memory_folder: Path, sqlite_template: Template) -> Iterator[NewDatabase]:
    """Makes SQLite databases."""
    numbers = count()
    with tempfile.TemporaryDirectory(dir=memory_folder) as folder:

        def make(migrations: Path | None = None) -> str:
            path = Path(folder) / f"{next(numbers)}.db"
            if migrations is not None:
                shutil.copyfile(sqlite_template(migrations), path)
            return sqlite_url(path)

        yield make


@pytest.fixture
def postgresql_databases(postgresql: PostgresServer) -> Iterator[NewDatabase]:
    """Makes PostgreSQL databases."""
    made: list[str] = []

    def make(migrations: Path | None = None) -> str:
        template = "template1"
        if migrations is not None:
            template = postgresql.template(str(migrations), lambda url: migrate(url, migrations))
        made.append(postgresql.make_database(template))
        return postgresql.url(made[-1])

    yield make
    for name in made:
        postgresql.drop_database(name)


@pytest.fixture
def schema() -> Path | None:
    """The migrations whose tables `database_url` has from the start. Each service's conftest.py names its own."""
    return None


@pytest.fixture
def database_url(new_database: NewDatabase, schema: Path | None) -> str:
    """A database without a row in it."""
    return new_database(schema)


@pytest.fixture
def firebase(mode: Mode) -> FakeFirebase:
    """A Firebase project in memory, whose services call each other in `mode`."""
    return FakeFirebase(mode=mode, base_url=BASE_URL)


@pytest.fixture
async def product(firebase: FakeFirebase, new_database: NewDatabase) -> AsyncIterator[httpx.AsyncClient]:
    """The Product service, with nothing in it."""
    settings = ProductSettings(database_url=new_database(MIGRATIONS))
    async with serving(create_app(settings, verifier=firebase.verifier("product"))) as client:
        yield client
