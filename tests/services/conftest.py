"""Fixtures for the tests of the services: databases, a Firebase in memory, and the Product service over both."""

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from mstoken.testing import FakeFirebase
from mstoken.wire import MODES, Mode
from services.product.app import create_app
from services.product.settings import ProductSettings
from tests.postgresql import MISSING, PostgresServer, programs
from tests.services.shop import BASE_URL, serving

NewDatabase: TypeAlias = Callable[[], str]
"""Makes an empty database, and gives its URL."""


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL that all tests share, each with databases of its own."""
    if programs() is None:
        pytest.skip(MISSING)
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def sqlite_databases(folder: Path) -> NewDatabase:
    """Databases in a folder."""
    numbers = count()
    return lambda: f"sqlite+aiosqlite:///{folder / f'{next(numbers)}.db'}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test on each kind of database, where it has one, and in each mode, where services call each other.

    Of the four ways to have both one is left out: what differs between databases differs in no mode.
    """
    both = [("sqlite", "fresh"), ("sqlite", "proof"), ("postgresql", "proof")]
    match "database_kind" in metafunc.fixturenames, "mode" in metafunc.fixturenames:
        case True, True:
            metafunc.parametrize(("database_kind", "mode"), both)
        case True, False:
            metafunc.parametrize("database_kind", ["sqlite", "postgresql"])
        case False, True:
            metafunc.parametrize("mode", MODES)


@pytest.fixture
def new_database(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[NewDatabase]:
    """Databases, which are gone after the test; it runs on SQLite and on PostgreSQL."""
    if database_kind == "sqlite":
        yield sqlite_databases(tmp_path)
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    made: list[str] = []

    def make() -> str:
        made.append(server.make_database())
        return server.url(made[-1])

    yield make
    for name in made:
        server.drop_database(name)


@pytest.fixture
def database_url(new_database: NewDatabase) -> str:
    """An empty database."""
    return new_database()


@pytest.fixture
def firebase(mode: Mode) -> FakeFirebase:
    """A Firebase project in memory, whose services call each other in one mode, and then in the other."""
    return FakeFirebase(mode=mode, base_url=BASE_URL)


@pytest.fixture
async def product(firebase: FakeFirebase, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The Product service, with nothing in it."""
    settings = ProductSettings(database_url=database_url)
    async with serving(create_app(settings, verifier=firebase.verifier("product"))) as client:
        yield client
