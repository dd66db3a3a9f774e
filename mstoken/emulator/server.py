"""The signed Auth emulator and the metadata emulator in one process, each on ports of its own."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from mstoken.emulator import metadata, signed_auth
from mstoken.emulator.addresses import HOST, LocalEmulators


class PortInUse(Exception):
    """Another program listens on `port`, which an emulator needs."""

    def __init__(self, port: int) -> None:
        super().__init__(f"Port {port} is in use. Stop the program that uses it, or choose another port.")
        self.port = port


@contextlib.contextmanager
def running(emulators: LocalEmulators) -> Iterator[None]:
    """Serve the emulators in a thread of its own until the block ends. Raises `PortInUse`.

    Connections are accepted as soon as the block begins.
    """
    with contextlib.ExitStack() as stack:
        ports = (emulators.port, *emulators.services.values())
        sockets = [stack.enter_context(listening(port)) for port in ports]
        app = _ByPort(
            signed_auth.create_app(emulators.upstream),
            metadata.create_app({port: name for name, port in emulators.services.items()}, emulators.project),
            metadata_ports=frozenset(emulators.services.values()),
        )
        server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", log_level="warning"))
        thread = threading.Thread(target=server.run, args=(sockets,), name="local emulators")
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


class _ByPort:
    """An app that passes a request on to one of two apps, by the port at which it arrived."""

    def __init__(self, auth: ASGIApp, metadata: ASGIApp, *, metadata_ports: frozenset[int]) -> None:
        self._auth = auth
        self._metadata = metadata
        self._metadata_ports = metadata_ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Only the signed Auth emulator has work at the start and at the end of the server.
        is_metadata = scope["type"] == "http" and scope["server"][1] in self._metadata_ports
        await (self._metadata if is_metadata else self._auth)(scope, receive, send)


def listening(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1 only. Raises `PortInUse`."""
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise PortInUse(port) from error
