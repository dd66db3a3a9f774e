"""The running Product service, and the tools of an attacker."""

from collections.abc import Iterator

import pytest

from emulator.local.keys import Key
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import Stack
from mstoken import ServiceIdentity, Settings
from tests.attacks.forge import Forge
from tests.needs import unmeasured


@pytest.fixture(scope="session")
def target(emulators: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A shop of its own for the attacks, so that its processor time is spent on the attacks only."""
    ports, data = Ports.shifted(free_offset()), tmp_path_factory.mktemp("target")
    stack = emulators.beside(ports, data)
    supervisor = Supervisor()
    try:
        with unmeasured():
            stack.start_services(supervisor)
        yield stack
    finally:
        supervisor.stop()


@pytest.fixture(scope="session")
def own_key() -> Key:
    """The key pair of the attacker."""
    return Key()


@pytest.fixture
def forge(target: Stack, auth_emulator: Settings, own_key: Key) -> Forge:
    """A forge for tokens of existing services: Billing has signed in at least once."""
    with ServiceIdentity("billing", auth_emulator) as billing:
        billing.token_sync("product")
    return Forge(f"http://{target.auth_host}", target.project, own_key)
