"""The running Product service, and the tools of an attacker."""

from collections.abc import Callable, Iterator

import psutil
import pytest

from emulator.attacks.emulator_forge import EmulatorForge
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import Stack
from mstoken import ServiceIdentity, Settings
from mstoken.emulator.keys import Key
from mstoken.testing.forge import Forge
from mstoken.testing.proof_flaws import Holder
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
    return EmulatorForge(f"http://{target.auth_host}", target.project, own_key)


@pytest.fixture
def holder(target: Stack, forge: Forge) -> Holder:
    """Billing, with a key and a token that is bound to it."""
    return Holder(forge, target.url("product"))


@pytest.fixture(scope="session")
def product_cpu_seconds(target: Stack) -> Callable[[], float]:
    """Returns the processor time that the Product service and its children have used, in seconds."""
    for process in psutil.process_iter(["cmdline"]):
        if {"services.product.app:create_app", str(target.ports.product)} <= set(process.info["cmdline"] or ()):
            break
    else:
        raise AssertionError("the product service is not running")

    def used() -> float:
        family = [process, *process.children(recursive=True)]
        return sum(times.user + times.system for times in (member.cpu_times() for member in family))

    return used
