"""A server that accepts connections and never answers, as during some outages."""

import socket
import threading
from types import TracebackType
from typing import Self

DEADLINE_SECONDS = 30.0
"""Maximum time that a test waits for a request."""


class SilentServer:
    """Listens on a free `port` of this machine, and reads requests. Close it with `with`."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._requests = threading.Semaphore(0)
        self._accepting = threading.Thread(target=self._accept, name="silent server", daemon=True)

    @property
    def connections(self) -> int:
        """The number of connections that it has accepted."""
        return len(self._connections)

    def wait_for_request(self) -> None:
        """Wait until one more request has come, or at least its first bytes."""
        assert self._requests.acquire(timeout=DEADLINE_SECONDS), "no request has come"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # the server was closed
                return
            self._connections.append(connection)
            threading.Thread(target=self._read, args=[connection], name="silent connection", daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        if connection.recv(65_536):
            self._requests.release()

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # `accept` in another thread goes on after `close`, but not after `shutdown`.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accepting.join()
        for connection in self._connections:
            connection.close()
