"""Ports: a port that is in use is noticed, and named."""

import socket
from dataclasses import asdict
from pathlib import Path

import pytest

from emulator.run.errors import PortTaken
from emulator.run.ports import HOST, OFFSETS, RESERVATION, Ports, free_offset, free_port, is_taken


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


def test_no_two_offsets_have_a_port_in_common() -> None:
    """A port that is reserved, and that nothing uses yet or any more, is none of another offset's."""
    ports = [port for offset in OFFSETS for port in (RESERVATION + offset, *asdict(Ports.shifted(offset)).values())]
    assert len(set(ports)) == len(ports)


def test_no_port_is_one_of_an_outgoing_connection() -> None:
    """Such a connection would take the port of a server that starts slowly, or that is started again."""
    range_of_the_system = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(range_of_the_system.read_text().split()[0]) if range_of_the_system.exists() else 32_768
    assert max(asdict(Ports.shifted(OFFSETS[-1])).values()) < first


def test_free_ports_are_different() -> None:
    """Each call returns another port, which nothing listens on."""
    found = [free_port() for _ in range(30)]
    assert len(set(found)) == 30
    assert not any(is_taken(port) for port in found)
