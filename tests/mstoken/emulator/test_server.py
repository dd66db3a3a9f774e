"""Both local emulators in one process. `mstoken emulator` runs them; its own tests are in tests/mstoken/cli."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from emulator.run.ports import free_port
from mstoken.emulator.addresses import HOST, LocalEmulators
from mstoken.emulator.metadata import ACCOUNTS_PATH, email_of
from mstoken.emulator.server import PortInUse, running
from mstoken.emulator.signed_auth import CERTIFICATES_PATH


@pytest.fixture
def emulators() -> LocalEmulators:
    """The emulators of two services, on free ports. Nothing listens where the Auth emulator should be."""
    upstream, port, product, billing = (free_port() for _ in range(4))
    return LocalEmulators("demo-shop", f"{HOST}:{upstream}", port, {"product": product, "billing": billing})


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """A client that uses no proxy."""
    with httpx.Client(trust_env=False) as client:
        yield client


def test_each_port_has_its_emulator(emulators: LocalEmulators, client: httpx.Client) -> None:
    """A request is answered by the emulator of the port at which it arrives, as soon as the block begins."""
    with running(emulators):
        assert client.get(f"http://{HOST}:{emulators.port}{CERTIFICATES_PATH}").is_success
        for service, port in emulators.services.items():
            email = client.get(
                f"http://{HOST}:{port}{ACCOUNTS_PATH}/default/email", headers={"Metadata-Flavor": "Google"}
            )
            assert email.text == email_of(service, "demo-shop")
            assert client.get(f"http://{HOST}:{port}{CERTIFICATES_PATH}").status_code == 403
        # The certificate of the signed Auth emulator is not at the other ports, and the other way round.
        assert client.get(f"http://{HOST}:{emulators.port}/computeMetadata/v1/").status_code == 503


def test_the_ports_are_free_again_after_the_block(emulators: LocalEmulators, client: httpx.Client) -> None:
    """The emulators end with the block, and can be started again."""
    for _ in range(2):
        with running(emulators):
            assert client.get(f"http://{HOST}:{emulators.port}{CERTIFICATES_PATH}").is_success
    with pytest.raises(httpx.ConnectError):
        httpx.Client(trust_env=False).get(f"http://{HOST}:{emulators.port}{CERTIFICATES_PATH}")


@pytest.mark.parametrize("taken", ["auth", "billing"])
def test_a_port_in_use(emulators: LocalEmulators, taken: str) -> None:
    """If one of the ports is in use, nothing starts, and the error names the port."""
    port = emulators.port if taken == "auth" else emulators.services[taken]
    other = emulators.services["product"]
    with socket.create_server((HOST, port)):
        with pytest.raises(PortInUse, match=f"Port {port} is in use") as caught, running(emulators):
            pass
        assert caught.value.port == port
    with socket.create_server((HOST, other)):
        pass
