"""The ports of the shop's emulators and services, all on 127.0.0.1."""

import random
import socket
from dataclasses import asdict, dataclass, fields

from emulator.run.errors import PortTaken

HOST = "127.0.0.1"
RESERVATION = 9110
"""A port that nothing listens on. With an offset it is bound by the process that `free_offset` gave that offset to."""
OFFSETS = range(6_000, 23_200, 35)
"""What `free_offset` chooses from. No two of them have a port in common, because no two ports are alike modulo 35. All
ports are below the range that the system uses for outgoing connections."""


@dataclass(frozen=True)
class Ports:
    """The ports of one shop. The defaults are those in firebase.json and those of the services."""

    auth: int = 9099
    signed_auth: int = 9100
    metadata_user: int = 9101
    metadata_product: int = 9102
    metadata_billing: int = 9103
    metadata_delivery: int = 9104
    functions: int = 5001
    hosting: int = 5000
    tasks: int = 9499
    eventarc: int = 9299
    hub: int = 4400
    logging: int = 4500
    user: int = 8001
    product: int = 8002
    billing: int = 8003
    lab: int = 4100
    wiretap: int = 4101
    till: int = 4102
    redis: int = 4103

    @classmethod
    def shifted(cls, offset: int) -> "Ports":
        """Return the default ports, each plus `offset`."""
        return cls(**{field.name: getattr(cls, field.name) + offset for field in fields(cls)})

    def taken(self) -> dict[str, int]:
        """Return the ports that are in use now: name -> port."""
        return {name: port for name, port in asdict(self).items() if is_taken(port)}

    def check(self) -> None:
        """Raise PortTaken if a port is in use. The text names the first one, what needs it, and what to do."""
        for name, port in self.taken().items():
            raise PortTaken(
                f"Port {port}, which {name} needs, is in use. Stop the program that uses it"
                f' (lsof -i :{port} finds it), or use other ports: make run ARGS="--port-offset 1000".'
            )


def is_taken(port: int) -> bool:
    """Return whether a program listens on the port."""
    with socket.socket() as client:
        client.settimeout(1)
        if client.connect_ex((HOST, port)) == 0:
            return True
    with socket.socket() as server:
        # Servers set this too: then connections that have just ended do not count.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
        except OSError:
            return True
    return False


def free_offset() -> int:
    """Return an offset at which all ports are free. Raises PortTaken if none was found.

    No other process gets the same offset from this function, or another one with a port of this one, until this process
    ends. An outgoing connection does not take one of the ports either, between this check and their use.
    """
    for offset in random.sample(OFFSETS, 100):
        reservation = socket.socket()
        try:
            reservation.bind((HOST, RESERVATION + offset))
        except OSError:
            reservation.close()
            continue
        if not Ports.shifted(offset).taken():
            reservation.detach()  # The port stays bound until the process ends.
            return offset
        reservation.close()
    raise PortTaken("No free ports were found: each of 100 random port offsets has a port that is in use.")


_reserved: list[int] = []
"""Ports that `free_offset` has reserved for this process, and that `free_port` has not returned yet."""


def free_port() -> int:
    """Return a port that nothing listens on, and that stays free until the caller uses it.

    A port that the system chooses, and that is released before a server takes it, may be the port of an outgoing
    connection by then, and again while the server is down. What `free_offset` says is true for this port. Raises
    PortTaken if none was found.
    """
    if not _reserved:
        _reserved.extend(asdict(Ports.shifted(free_offset())).values())
    return _reserved.pop()
