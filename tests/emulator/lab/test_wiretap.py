"""The wiretap: bytes pass through it unchanged, and it remembers the last calls."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from emulator.lab.wiretap import KEPT_CALLS, MAX_REQUEST_BYTES, Heard, Listener, Wiretap, one_time_id_of
from emulator.run.errors import PortTaken
from emulator.run.ports import free_port
from mstoken.strict_jwt import base64url
from tests.clock import FakeClock
from tests.waiting import WAIT_SECONDS

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def token(**ms: str) -> str:
    """Return a token with this ms claim, which nothing verifies here."""
    return ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "RS256"}, {"ms": ms})) + ".c2ln"


def proof(jti: str) -> str:
    """Return a proof with this id, which nothing verifies here."""
    return ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "ES256"}, {"jti": jti})) + ".c2ln"


class Callee:
    """A server that answers every read with ANSWER, and keeps what it has read. It ends connections when told to."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.connections: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._answer, args=(connection,)).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65536):
                self.received.append(data)
                connection.sendall(ANSWER)

    def close(self) -> None:
        """End the server. Its connections end with those of their callers."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@contextmanager
def tapped() -> Iterator[tuple[Wiretap, Callee]]:
    """A wiretap in front of a callee."""
    callee = Callee()
    wiretap = Wiretap(free_port(), callee.port)
    try:
        with wiretap.running():
            yield wiretap, callee
    finally:
        callee.close()


def request(wiretap: Wiretap, *pieces: bytes) -> bytes:
    """Send the pieces of one request over a connection of its own. Return the answer."""
    with socket.create_connection(("127.0.0.1", wiretap.port), timeout=WAIT_SECONDS) as connection:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while data := connection.recv(65536):
            received += data
    return received


def test_bytes_pass_unchanged_and_are_remembered() -> None:
    """The callee reads what the caller sent, and the wiretap has the same bytes, and the status."""
    raw = b"POST /reservations?x=1 HTTP/1.1\r\nhost: product\r\nX-mS-ToKeN: abc\r\nContent-Length: 4\r\n\r\nbody"
    with tapped() as (wiretap, callee):
        assert request(wiretap, raw) == ANSWER
        (call,) = wiretap.calls()
        assert (b"".join(callee.received), call.request) == (raw, raw)
        assert (call.method, call.path, call.status, call.mode) == ("POST", "/reservations?x=1", 200, "fresh")
        assert wiretap.find(call.id) == call
        assert wiretap.find(call.id + 1) is None


def test_two_calls_of_one_connection_are_two_calls() -> None:
    """Each has only its own bytes. HTTP clients use a connection for many calls."""
    with tapped() as (wiretap, _callee):
        with httpx.Client(base_url=f"http://127.0.0.1:{wiretap.port}", trust_env=False) as client:
            for path in "/a", "/b":
                assert client.get(path).text == "ok"
        first, second = wiretap.calls()
        assert first.request.startswith(b"GET /a HTTP/1.1\r\n")
        assert second.request.startswith(b"GET /b HTTP/1.1\r\n")
        assert second.request.endswith(b"\r\n\r\n")


def test_a_call_is_found_by_the_id_that_it_spent() -> None:
    """In both modes it is the id of the callee's record."""
    bound, used = token(jkt="key", aud="product"), proof("p1")
    lines = f"X-MS-TOKEN: {bound}\r\nDPoP: {used}\r\n"
    with tapped() as (wiretap, _callee):
        request(wiretap, f"GET / HTTP/1.1\r\nHost: p\r\nX-MS-TOKEN: {token(jti='t1')}\r\n\r\n".encode())
        request(wiretap, f"GET / HTTP/1.1\r\nHost: p\r\n{lines}\r\n".encode())
        fresh, with_proof = wiretap.calls()
        assert wiretap.find_spent("t1") == fresh
        assert wiretap.find_spent("key.p1") == with_proof
        assert (fresh.mode, with_proof.mode) == ("fresh", "proof")
        assert wiretap.find_spent("unknown") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("x", None), (token(), None), (token(jti="a"), "a"), ("..", None)],
    ids=["none", "no token", "no id", "an id", "two dots"],
)
def test_a_call_without_a_service_token_spent_nothing(value: str | None, expected: str | None) -> None:
    """Whatever the header has, the wiretap goes on."""
    assert one_time_id_of(value, None) == expected


def test_what_is_not_http_passes_too() -> None:
    """The wiretap hears nothing then, and the callee gets all bytes."""
    with tapped() as (wiretap, callee):
        assert request(wiretap, b"\x16\x03\x01 not HTTP") == ANSWER
        assert callee.received == [b"\x16\x03\x01 not HTTP"]
        assert wiretap.calls() == []


def test_a_callee_that_is_down_ends_the_connection() -> None:
    """The caller gets no answer, as without the wiretap, and later calls work when the callee is back."""
    port = free_port()
    with Wiretap(port, free_port()).running(), pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_the_end_of_the_callees_connection_reaches_the_caller() -> None:
    """Otherwise the caller would send its next call into a connection that nobody reads."""
    with (
        tapped() as (wiretap, callee),
        socket.create_connection(("127.0.0.1", wiretap.port), timeout=WAIT_SECONDS) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: p\r\n\r\n")
        assert connection.recv(65536) == ANSWER
        callee.connections[0].shutdown(socket.SHUT_RDWR)
        assert connection.recv(65536) == b""


def test_only_the_last_calls_are_remembered() -> None:
    """So memory is bounded, and old credentials are gone."""
    with tapped() as (wiretap, _callee):
        with httpx.Client(base_url=f"http://127.0.0.1:{wiretap.port}", trust_env=False) as client:
            for number in range(KEPT_CALLS + 1):
                client.get(f"/{number}")
        paths = [call.path for call in wiretap.calls()]
        assert (len(paths), paths[0], paths[-1]) == (KEPT_CALLS, "/1", f"/{KEPT_CALLS}")


def test_a_taken_port_is_named() -> None:
    """The runner then says which program to stop."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(PortTaken, match="is in use"),
        Wiretap(taken.getsockname()[1], 1).running(),
    ):
        pass


@pytest.fixture
def heard() -> list[Heard]:
    """What the listener of a test has heard."""
    return []


def test_a_request_that_arrives_byte_by_byte_is_one(heard: list[Heard]) -> None:
    """The network may cut requests and answers anywhere."""
    listener = Listener(heard.append, FakeClock(100.0))
    raw = b"POST / HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    for data in raw:
        listener.sent(bytes([data]))
    for (
        data
    ) in b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Oh\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n":
        listener.answered(bytes([data]))
    assert [(one.request, one.status, one.time) for one in heard] == [(raw, 503, 100.0)]


def test_two_requests_in_one_piece_are_two(heard: list[Heard]) -> None:
    """A client may send the next request before the answer."""
    listener = Listener(heard.append, FakeClock())
    raw = b"GET /1 HTTP/1.1\r\nHost: p\r\n\r\n", b"GET /2 HTTP/1.1\r\nHost: p\r\n\r\n"
    listener.sent(b"".join(raw))
    listener.answered(ANSWER + ANSWER)
    assert [one.request for one in heard] == list(raw)


def test_a_very_long_request_is_not_remembered(heard: list[Heard]) -> None:
    """It passes, and the next one is heard again."""
    listener = Listener(heard.append, FakeClock())
    for length in MAX_REQUEST_BYTES, 1:
        listener.sent(f"PUT / HTTP/1.1\r\nHost: p\r\nContent-Length: {length}\r\n\r\n".encode() + b"x" * length)
        listener.answered(ANSWER)
    assert [len(one.request) < 100 for one in heard] == [True]


def test_an_answer_that_ends_with_the_connection_is_not_waited_for(heard: list[Heard]) -> None:
    """Services answer with a length. Others are not heard, and raise no error."""
    listener = Listener(heard.append, FakeClock())
    listener.answered(b"HTTP/1.1 200 OK\r\n\r\n")
    listener.sent(b"GET / HTTP/1.1\r\nHost: p\r\n\r\n")
    assert heard == []
