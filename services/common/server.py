"""The HTTP server's side of a connection, with time limits that uvicorn does not have.

`uvicorn --http services.common.server:TimedProtocol` runs it. It is a class of uvicorn for its parser `h11`, so what is
said about that parser is true for it as well.

| what the client does | the connection ends after |
|---|---|
| it connects, and sends nothing or only a part of a header | 10 s |
| it sends the next header slowly, or the rest of a body that was refused | 10 s after the answer |
| it sends nothing after an answer | 5 s, by uvicorn itself |
| it does not read an answer | 10 s, and 1 s after a complete answer when the server stops |

`services.common.bodies` limits the time of a body, and `services.common.deadlines` that of the work.

Kept by hand because uvicorn 0.54.0 has no such limits, and there is not always a proxy in front that has them. The
attacks are those that "slowhttptest" calls "Slowloris" and "Slow Read".
"""

import asyncio

from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""Maximum time from the beginning of a connection, or from an answer, to the end of the next header."""
READ_SECONDS = 10.0
"""Maximum time for which a client reads nothing of an answer that does not fit into the buffers."""
STOPPING_READ_SECONDS = 1.0
"""The same when the server is stopping, once the answer is complete."""


class TimedProtocol(H11Protocol):
    """One connection of a client, which ends when the client is too slow."""

    head_seconds = HEAD_SECONDS
    read_seconds = READ_SECONDS
    stopping_read_seconds = STOPPING_READ_SECONDS

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.access_log = False  # `services.common.middleware.RequestLog` writes it, with the id of the request.
        self._head = _Limit(transport)
        self._reading = _Limit(transport)
        self._head.begin(self.head_seconds)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """End both limits."""
        self._head.end()
        self._reading.end()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        """Take what the client has sent. The whole header of a request ends its limit, and no byte before does."""
        super().data_received(data)
        if self._is_answering:
            self._head.end()

    @override
    def on_response_complete(self) -> None:
        """Begin to wait for the next request, or for the client to read the last answer."""
        self._head.begin(self.head_seconds)
        super().on_response_complete()
        # If the next request has come already, uvicorn has begun it just now.
        if self._is_answering:
            self._head.end()

    @override
    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._reading.begin(self.read_seconds)

    @override
    def resume_writing(self) -> None:
        """Go on, because the client has read enough."""
        super().resume_writing()
        self._reading.end()

    @override
    def shutdown(self) -> None:
        """Begin to stop: a connection without a request ends now, and the others with their answers."""
        super().shutdown()
        if not self._is_answering:
            self._head.begin(self.stopping_read_seconds)

    @property
    def _is_answering(self) -> bool:
        """Whether a request is being worked on."""
        return self.cycle is not None and not self.cycle.response_complete


class _Limit:
    """Ends the connection of a transport some time after `begin`, unless `end` comes first."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float) -> None:
        self.end()
        # Not `close`, which would wait until the client has read everything.
        self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
