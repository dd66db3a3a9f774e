"""A simple load balancer: each connection goes to the next of several servers."""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Sequence

from emulator.run.ports import HOST

PIECE_BYTES = 65536


class RoundRobin:
    """Listens on a port, and passes each connection on to the next port of `upstreams`. Uses threads of its own."""

    def __init__(self, port: int, upstreams: Sequence[int]) -> None:
        self._server = socket.create_server((HOST, port))
        self._upstreams = deque(upstreams)
        self._lock = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept, name=f"round robin {port}", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Accept no more connections."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._server.close()

    def take_out(self, upstream: int) -> None:
        """Pass no new connection to this port. Those that are open go on."""
        with self._lock:
            self._upstreams.remove(upstream)

    def put_back(self, upstream: int) -> None:
        """Pass new connections to this port as well."""
        with self._lock:
            self._upstreams.append(upstream)

    def _take_next(self) -> int:
        with self._lock:
            self._upstreams.rotate(-1)
            return self._upstreams[-1]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=_serve, args=(connection, self._take_next()), daemon=True).start()


def _serve(connection: socket.socket, upstream: int) -> None:
    """Pass bytes on in both directions until both ends have sent everything."""
    with connection, socket.create_connection((HOST, upstream)) as server:
        back = threading.Thread(target=_pass_on, args=(server, connection), daemon=True)
        back.start()
        _pass_on(connection, server)
        back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until the source has sent everything, and then tell the target so."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
