"""Fixtures for tests that need the Firebase emulators; the other tests start nothing."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from emulator.run.ports import HOST, Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import PROJECT, Stack, signs
from mstoken import Settings
from mstoken.settings import AUTH_EMULATOR_VARIABLE


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose Firebase emulators run: those that run already, or else some of our own on free ports.

    Where `npx firebase emulators:start` runs alone, it gets a signing proxy and a metadata server for the tests.

    Tests share the emulators and their project, since the Auth emulator serves one project to callers with an API
    key; so they make up users of their own, and leave others alone.
    """
    folder = tmp_path_factory.mktemp("emulators")
    running = os.environ.get(AUTH_EMULATOR_VARIABLE) or f"{HOST}:{Ports.signed_auth}"
    supervisor = Supervisor()
    try:
        if _is_ours(running) and signs(running):
            stack = Stack(Ports(), folder, emulator_host=running)
        elif _is_ours(f"{HOST}:{Ports.auth}"):
            signed_auth = Ports.shifted(free_offset()).signed_auth
            stack = Stack(replace(Ports(), signed_auth=signed_auth), folder)
            stack.start_metadata(supervisor)
            stack.start_signed_auth(supervisor, f"{HOST}:{Ports.auth}")
        else:
            stack = Stack(Ports.shifted(free_offset()), folder, project=f"demo-test-{secrets.token_hex(4)}")
            stack.start_emulators(supervisor)
        yield stack
    finally:
        supervisor.stop()


def _is_ours(auth_host: str) -> bool:
    """Whether an Auth emulator is there, and beside it the functions emulator with this project's functions."""
    try:
        auth = httpx.get(f"http://{auth_host}/").json()
        health = httpx.get(f"http://{HOST}:{Ports.functions}/{PROJECT}/us-central1/health").json()
    except (httpx.TransportError, ValueError):
        return False
    return bool(auth.get("authEmulator", {}).get("ready") and health.get("project") == PROJECT)


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
