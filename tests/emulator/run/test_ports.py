"""Ports: what is taken is noticed, and named."""

import socket

import pytest

from emulator.run.errors import PortTaken
from emulator.run.ports import HOST, RESERVATION, Ports, free_offset, is_taken


def test_shifted_moves_every_port() -> None:
    """An offset is added to each port alike."""
    ports = Ports.shifted(1000)
    assert (ports.auth, ports.functions, ports.user) == (10099, 6001, 9001)


@pytest.mark.parametrize("host", [HOST, "0.0.0.0"])
def test_a_listening_socket_takes_a_port(host: str) -> None:
    """A port counts as taken while something listens on it, on this address or on all, and as free afterwards."""
    with socket.create_server((host, 0)) as server:
        port = server.getsockname()[1]
        assert is_taken(port)
    assert not is_taken(port)


def test_check_says_which_port_for_whom_and_what_to_do() -> None:
    """One sentence names the port, who wants it, how to find what holds it, and how to move."""
    ports = Ports.shifted(free_offset())
    ports.check()
    with (
        socket.create_server((HOST, ports.product)),
        pytest.raises(PortTaken, match=rf"^Port {ports.product}, wanted for product, is taken: .*--port-offset"),
    ):
        ports.check()


def test_no_two_processes_get_the_same_free_offset() -> None:
    """A free offset is reserved: its ports are not in use yet when another process looks for one."""
    offset = free_offset()
    assert not Ports.shifted(offset).taken()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, RESERVATION + offset))
