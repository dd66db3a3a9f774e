"""Which addresses of this machine a server listens at."""

import socket


def is_open(host: str, port: int) -> bool:
    """Return whether a server accepts connections at this address."""
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex((host, port)) == 0
