"""Fixtures that every test may use, and the markers that say what a test needs (see tests/needs.py)."""

import gc
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fastapi.dependencies.models
import hypothesis
import pytest

from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import Stack, delete_proxies
from mstoken import Settings
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests import needs
from tests.firestore_server import FirestoreServer, running_firestore
from tests.postgresql import PostgresServer, running_postgresql
from tests.redis_server import MISSING, RedisClusterServers, RedisServer, running_redis, running_redis_cluster

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 2**30
"""Free bytes that `MEMORY` must have: a container often has 64 MiB, too little for PostgreSQL's databases."""

LONG_TEXT = 80
"""Characters of a parameter that a test's id still shows."""

# A deadline for an example would measure how busy the machine is.
hypothesis.settings.register_profile("suite", deadline=None)
# `make unit` tries fewer examples than `make test`, because it runs after every edit.
hypothesis.settings.register_profile("quick", parent=hypothesis.settings.get_profile("suite"), max_examples=20)
hypothesis.settings.load_profile("suite")

_watch = needs.Watch()


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers. Forget the proxies of the user's shell: all servers of the tests are on this machine."""
    delete_proxies(os.environ)
    for name, meaning in needs.MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long text in a test's id by its parameter only. Some contain new keys, and ids must stay the same."""
    return argname if isinstance(val, str) and len(val) > LONG_TEXT else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the test. Later would be too late for pytest-xdist, which reads the groups when all tests are collected."""
    needs.mark(item)
    if " at 0x" in item.nodeid:
        raise pytest.UsageError(f"{item.nodeid}: use ids=. Each worker must collect the same names.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a parallel run, start with the tests that take longest."""
    if hasattr(config, "workerinput"):
        items.sort(key=needs.start_order)


def pytest_collection_finish() -> None:
    """Make the garbage collector run less often, and never visit all modules and collected tests again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Fail a unit test that starts a process. Let go of the apps that the test has made."""
    _watch.watch(item)
    try:
        return (yield)
    finally:
        _watch.rest()
        forget_apps()


_CACHES_OF_FASTAPI = [known for known in vars(fastapi.dependencies.models).values() if hasattr(known, "cache_clear")]


def forget_apps() -> None:
    """Empty FastAPI's caches of what it knows about functions.

    They keep functions alive, and those keep their app alive. Hundreds of apps make each collection of garbage take a
    second.
    """
    for cache in _CACHES_OF_FASTAPI:
        cache.cache_clear()


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose Firebase emulators run: our own, on free ports, whatever listens on the usual ones.

    Tests share the emulators and their project, since the Auth emulator serves one project to callers with an API
    key. So each test makes users of its own and leaves the others alone.
    """
    folder = tmp_path_factory.mktemp("emulators")
    stack = Stack(Ports.shifted(free_offset()), folder, project=f"demo-test-{secrets.token_hex(4)}")
    supervisor = Supervisor()
    try:
        stack.start_emulators(supervisor)
        yield stack
    finally:
        supervisor.stop()


@pytest.fixture
def auth_emulator(emulators: Stack) -> Iterator[Settings]:
    """Settings for a running Auth emulator.

    The environment points to it as well during the test: firebase-admin finds its emulator in no other way.
    """
    before = os.environ.get(AUTH_EMULATOR_VARIABLE)
    os.environ[AUTH_EMULATOR_VARIABLE] = emulators.auth_host
    yield emulators.settings
    if before is None:
        del os.environ[AUTH_EMULATOR_VARIABLE]
    else:
        os.environ[AUTH_EMULATOR_VARIABLE] = before


@pytest.fixture(scope="session")
def memory_folder() -> Iterator[Path]:
    """A folder for databases, in memory where the machine has room: they write to the disk at every commit."""
    has_room = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    folder = Path(tempfile.mkdtemp(prefix="mstoken-tests-", dir=MEMORY if has_room else None))
    folder.chmod(0o755)  # PostgreSQL runs as another user.
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql(memory_folder: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that tests share. Each makes databases of its own, from templates, and never ends the server."""
    with running_postgresql(memory_folder) as server:
        yield server


@pytest.fixture
def own_postgresql(memory_folder: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL for one test, which may end it."""
    with running_postgresql(memory_folder) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that tests share. None of them ends it; `redis_url` gives each test an empty database of it."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_program() -> str:
    """The path of redis-server, for what starts one itself."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip(MISSING)
    return found


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of an empty database of the shared Redis."""
    redis_server.command("FLUSHALL")
    return redis_server.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for one test, which may end it."""
    with running_redis(tmp_path) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisClusterServers]:
    """A Redis Cluster of three nodes that tests share. None of them ends a node."""
    with running_redis_cluster(tmp_path_factory.mktemp("redis-cluster")) as cluster:
        yield cluster


@pytest.fixture
def own_redis_cluster(tmp_path: Path) -> Iterator[RedisClusterServers]:
    """A Redis Cluster of three nodes for one test, which may end them."""
    with running_redis_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def firestore_server() -> Iterator[FirestoreServer]:
    """A Firestore emulator that tests share. None of them ends it; `clear` empties it."""
    with running_firestore() as server:
        yield server


@pytest.fixture
def own_firestore() -> Iterator[FirestoreServer]:
    """A Firestore emulator for one test, which may end it."""
    with running_firestore() as server:
        yield server
