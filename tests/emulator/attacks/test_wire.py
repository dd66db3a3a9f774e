"""Requests as bytes, and the answers to them."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from emulator.attacks.wire import Answer, RawRequest


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that reads once, answers, and ends the connection. Yields its port and what it has read."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                received.append(connection.recv(65536))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], received
        finally:
            thread.join()


def test_a_request_is_sent_byte_by_byte() -> None:
    """The header lines arrive as they are, also if no HTTP library would send them."""
    with answering(b"HTTP/1.1 200 OK\r\n\r\nfine") as (port, received):
        answer = RawRequest([b"X-MS-TOKEN: a\xff", b"X-MS-TOKEN : b"], b"/p?q=1", b"PUT").send(port)
    assert received == [
        b"PUT /p?q=1 HTTP/1.1\r\nHost: product\r\nConnection: close\r\nX-MS-TOKEN: a\xff\r\nX-MS-TOKEN : b\r\n\r\n"
    ]
    assert (str(answer), answer.head, answer.body) == ("accepted", "HTTP/1.1 200 OK", "fine")


def test_the_code_and_the_detail_are_those_of_the_problem() -> None:
    """The body of a refusal is problem details."""
    body = b'{"code": "token_stale", "detail": "The token is 61 s old."}'
    with answering(b"HTTP/1.1 401 Unauthorized\r\n\r\n" + body) as (port, _):
        answer = RawRequest([]).send(port)
    assert answer == Answer(401, "token_stale", "The token is 61 s old.", answer.head, answer.body)


@pytest.mark.parametrize("body", [b"", b"[1]", b"Invalid HTTP request received."])
def test_an_answer_without_problem_details_has_no_code(body: bytes) -> None:
    """Then the status stands for it."""
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n" + body) as (port, _):
        assert str(RawRequest([]).send(port)) == "400"


def test_trailers_follow_a_chunked_body() -> None:
    """The header names them, and they come after the last chunk."""
    (both,) = RawRequest([b"A: 1"], trailer_lines=[b"X-MS-TOKEN: t"]).parts()
    assert (
        b"\r\nTransfer-Encoding: chunked\r\nTrailer: X-MS-TOKEN\r\nA: 1\r\n\r\n1\r\nx\r\n0\r\nX-MS-TOKEN: t\r\n\r\n"
        in both
    )
    assert b"".join(RawRequest([b"A: 1"], trailer_lines=[b"X-MS-TOKEN: t"], segments=2).parts()) == both
