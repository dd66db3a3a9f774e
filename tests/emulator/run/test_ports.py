"""Ports: a port that is in use is noticed, and named."""

import socket
from pathlib import Path

import pytest

from emulator.run.errors import PortTaken
from emulator.run.ports import HOST, RESERVATION, Ports, free_offset, free_port, is_taken


def test_an_offset_moves_every_port() -> None:
    """An offset is added to every port."""
    ports = Ports.shifted(1000)
    assert (ports.auth, ports.functions, ports.user) == (10099, 6001, 9001)


@pytest.mark.parametrize("host", [HOST, "0.0.0.0"])
def test_a_port_with_a_listener_is_taken(host: str) -> None:
    """A port is taken while a socket listens on it, on this address or on all of them, and free afterwards."""
    port = free_port()
    with socket.create_server((host, port)):
        assert is_taken(port)
    assert not is_taken(port)


def test_check_names_the_port_and_what_to_do() -> None:
    """The message names the port, what needs it, how to find the program that uses it, and how to use other ports."""
    ports = Ports.shifted(free_offset())
    ports.check()
    with (
        socket.create_server((HOST, ports.product)),
        pytest.raises(PortTaken, match=rf"^Port {ports.product}, which product needs, is in use\. .*--port-offset"),
    ):
        ports.check()


def test_no_two_processes_get_the_same_free_offset() -> None:
    """A free offset is reserved: its ports are not in use yet when another process looks for one."""
    offset = free_offset()
    assert not Ports.shifted(offset).taken()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, RESERVATION + offset))


def test_free_ports_are_different_and_cannot_be_those_of_outgoing_connections() -> None:
    """A server that starts slowly, or that is started again on the same port, finds its port free."""
    found = [free_port() for _ in range(30)]
    assert len(set(found)) == 30
    assert not any(is_taken(port) for port in found)
    range_of_the_system = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if range_of_the_system.exists():
        assert max(found) < int(range_of_the_system.read_text().split()[0])
