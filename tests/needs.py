"""What each test needs: markers that are put on tests by the fixtures they use, and groups for parallel runs.

CONTRIBUTING.md ("Tests and markers") explains the markers. A test that needs nothing gets the marker `unit`.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

FIXTURES = {
    "emulators": "emulator",
    "postgresql": "postgresql",
    "own_postgresql": "postgresql",
    "redis_server": "redis",
    "own_redis": "redis",
    "redis_program": "redis",
    "firestore_server": "firestore",
    "own_firestore": "firestore",
    "redis_cluster": "redis",
    "own_redis_cluster": "redis",
    "prometheus": "prometheus",
    "browser": "browser",
}
"""Fixture -> the marker of every test that uses it, directly or through another fixture."""
MARKERS = {
    "unit": "needs nothing outside its own process (set automatically)",
    "emulator": "needs the Firebase emulators (set automatically for the fixture `emulators`)",
    "postgresql": "needs PostgreSQL (set automatically for the fixture `postgresql`)",
    "redis": "needs redis-server (set automatically for the fixture `redis_server`)",
    "firestore": "needs node and @firestore-emulator/server (set automatically for the fixture `firestore_server`)",
    "browser": "needs Chromium (set automatically for the fixture `browser`)",
    "prometheus": "needs prometheus (set automatically for the fixture `prometheus`)",
    "process": "starts processes of its own",
    "slow": "takes more than a few seconds",
    "both_databases": "runs on SQLite with fresh tokens, and again on PostgreSQL with proofs",
    "both_modes": "runs with fresh tokens, and again with proofs",
}
NEEDS = ("emulator", "postgresql", "redis", "firestore", "prometheus", "browser", "process", "slow")
COVERAGE_VARIABLE = "COVERAGE_PROCESS_CONFIG"
"""Makes coverage measure a new Python process. coverage sets it ("subprocess" in pyproject.toml)."""
STARTS_A_PROCESS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}
"""Audit events of Python that mean that a process starts."""


def mark(item: pytest.Item) -> None:
    """Put the markers on a test, and say with which others it must run one after another in a parallel run."""
    fixtures = set(getattr(item, "fixturenames", ()))
    callspec = getattr(item, "callspec", None)
    if callspec is not None and "postgresql" in callspec.params.values():
        fixtures.add("postgresql")
    for fixture in FIXTURES.keys() & fixtures:
        item.add_marker(FIXTURES[fixture])
    if not needs(item):
        item.add_marker("unit")
    if item.get_closest_marker("xdist_group") is None:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def needs(item: pytest.Item) -> set[str]:
    """Return the markers of a test that keep it out of the unit tests."""
    return {name for name in NEEDS if item.get_closest_marker(name)}


def start_order(item: pytest.Item) -> int:
    """Return 0 for the tests that a parallel run starts first: what takes longest must not come last."""
    needed = needs(item)
    if {"browser", "emulator"} & needed:
        return 0
    if needed:
        return 1 if "slow" in needed else 2
    # Among the unit tests, the files of the services take longest.
    return 3 if item.nodeid.startswith("tests/services/") else 4


def _group(item: pytest.Item) -> str:
    """Return the name of what tests share: a server, or else the fixtures of their file. A slow test shares nothing."""
    needed = needs(item)
    if "browser" in needed:
        return "browser"
    if "emulator" in needed:
        return "emulators"
    if "slow" in needed:
        return re.sub(r"\W", "_", item.nodeid)  # pytest-xdist looks for brackets in a name.
    if "postgresql" in needed:
        return "postgresql"
    return item.nodeid.split("::")[0]


class Watch:
    """Fails a test that starts a process without saying so by a marker. `make unit` looks, and `make test` does not.

    Coverage installs a trace function in each new thread. While Python runs an audit hook for that, another thread may
    begin, and Python 3.11 lets only one of them have its trace function: the other thread ends with an error.
    """

    def __init__(self) -> None:
        self._unit_test: str | None = None
        if COVERAGE_VARIABLE not in os.environ:
            sys.addaudithook(self._on_event)

    def watch(self, item: pytest.Item) -> None:
        """Call before a test runs, its fixtures included."""
        self._unit_test = item.nodeid if item.get_closest_marker("unit") else None

    def rest(self) -> None:
        """Call after a test."""
        self._unit_test = None

    def _on_event(self, event: str, _arguments: object) -> None:
        if self._unit_test is not None and event in STARTS_A_PROCESS:
            pytest.fail(f"{self._unit_test} starts a process ({event}): mark it with pytest.mark.process.")


@contextmanager
def unmeasured() -> Iterator[None]:
    """Start processes without coverage, which slows them down. For tests of code that other tests cover."""
    setting = os.environ.pop(COVERAGE_VARIABLE, None)
    try:
        yield
    finally:
        if setting is not None:
            os.environ[COVERAGE_VARIABLE] = setting
