"""services/common/app.py, with middleware.py, problems.py and callers.py"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from pydantic import Field
from starlette.responses import StreamingResponse
from starlette.types import Message

from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.errors import VerifierUnavailable
from mstoken.problem import Problem
from mstoken.testing import FakeFirebase
from mstoken.wire import BEARER_SCHEME
from services.common.app import build
from services.common.bodies import MAX_BODY_BYTES
from services.common.callers import SignedInUser
from services.common.database import Database
from services.common.middleware import current_request_id
from services.common.problems import documented
from services.common.settings import ServiceSettings
from services.common.shapes import SecretText, StrictShape
from services.product.app import MIGRATIONS
from tests.services.shop import answered, refused, serving


class Teapot(Problem):
    status = 418
    code = "teapot"
    title = "I am a teapot"
    retry_after_seconds = 3
    scheme = BEARER_SCHEME


class Letter(StrictShape):
    password: Annotated[SecretText, Field(min_length=8)]
    pages: Annotated[int, Field(ge=1, le=9)] = 1


class DownReplayStore(MemoryReplayStore):
    """A replay store that cannot be reached."""

    async def ready(self) -> None:
        raise VerifierUnavailable("redis.internal:6379 does not answer")


class Resource:
    """A resource that records when it is opened and closed."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __aenter__(self) -> None:
        self.events.append("opened")

    async def __aexit__(self, *_error: object) -> None:
        self.events.append("closed")


def add_some_routes(routes: APIRouter) -> None:
    @routes.post("/letters")
    async def post_letter(letter: Letter) -> str | None:
        return current_request_id()

    @routes.get("/teapot", responses=documented(Teapot))
    async def teapot() -> None:
        raise Teapot("short and stout")

    @routes.get("/defect")
    async def defect() -> None:
        raise RuntimeError("the password is hunter2")

    @routes.get("/broken-stream")
    async def broken_stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one"
            raise RuntimeError("half way")

        return StreamingResponse(pieces())

    @routes.get("/endless")
    async def endless(request: Request) -> None:
        request.app.state.began.set()
        await asyncio.Event().wait()

    @routes.get("/me")
    async def me(caller: SignedInUser) -> str:
        return caller.uid


def an_app(tmp_path: Path, firebase: FakeFirebase, **changes: Any) -> FastAPI:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    parts: dict[str, Any] = {
        "settings": ServiceSettings(database_url=url),
        "verifier": firebase.verifier("product"),
        "database": Database(url, MIGRATIONS),
    }
    return build("Some", "Some routes.", add_some_routes, **(parts | changes))


@pytest.fixture
async def client(tmp_path: Path, firebase: FakeFirebase) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app with a few routes."""
    async with serving(an_app(tmp_path, firebase)) as client:
        yield client


async def test_health_and_readiness(client: httpx.AsyncClient) -> None:
    """A service that has started is healthy and ready."""
    assert answered(await client.get("/healthz")) == {"status": "ok"}
    assert answered(await client.get("/readyz")) == {"status": "ready", "warnings": []}


async def test_not_ready_without_the_replay_store(
    tmp_path: Path, firebase: FakeFirebase, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that cannot verify tokens is healthy but not ready. Only the log says why: anyone may ask."""
    app = an_app(tmp_path, firebase, verifier=firebase.verifier("product", replay=DownReplayStore()))
    async with serving(app) as client:
        response = await client.get("/readyz")
        refused(response, 503, "verifier_unavailable")
        answered(await client.get("/healthz"))
    assert response.headers["Retry-After"] == "1"
    assert "redis.internal" not in response.text
    [record] = [record for record in caplog.records if vars(record).get("event") == "not_ready"]
    assert record.message == f"not ready: {vars(record)['reason']}"
    assert "redis.internal" in record.message


@pytest.mark.both_modes
async def test_ready_with_warnings(tmp_path: Path, firebase: FakeFirebase, caplog: pytest.LogCaptureFixture) -> None:
    """A service that is ready although a part has a problem names the part. The log has the problem."""
    async with serving(an_app(tmp_path, firebase)) as client:
        firebase.down = True
        await client.get("/me", headers=firebase.user_headers("maya"))
        answer = answered(await client.get("/readyz"))
    assert answer == {"status": "ready", "warnings": ["Identity status"]}
    [record] = [record for record in caplog.records if vars(record).get("event") == "ready_with_warnings"]
    assert record.message == "ready, with warnings: Identity status: The fake Firebase is down."
    assert record.__dict__["warnings"] == ["Identity status: The fake Firebase is down."]


async def test_not_ready_without_the_database(tmp_path: Path, firebase: FakeFirebase) -> None:
    """A service that cannot reach its database is not ready, and says when to ask again."""
    database = Database(f"sqlite:///{tmp_path / 'gone' / 'x.db'}", MIGRATIONS)
    app = an_app(tmp_path, firebase, database=database)
    async with serving(app) as client:
        await database.close()
        for path in (tmp_path / "gone").iterdir():
            path.unlink()
        (tmp_path / "gone").rmdir()
        response = await client.get("/readyz")
    refused(response, 503, "database_unavailable")
    assert response.headers["Retry-After"] == "1"


async def test_the_page_of_the_api_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    """/docs and its style sheet name no other server, and everything that the page names is there."""
    page = (await client.get("/docs")).text
    assert "//" not in page
    assert '"validatorUrl": null' in page
    references = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']*)""", page)
    assert "/openapi.json" in references
    for reference in references:
        answer = await client.get(reference)
        assert answer.status_code == 200, reference
        if reference.endswith(".css"):
            assert not re.search(r"""url\((?!\s*["']?data:)|@import""", answer.text)


async def test_resources_live_as_long_as_the_app(tmp_path: Path, firebase: FakeFirebase) -> None:
    """The resources of an app are opened before it serves, and closed after it."""
    resource = Resource()
    async with serving(an_app(tmp_path, firebase, resources=[resource])):
        assert resource.events == ["opened"]
    assert resource.events == ["opened", "closed"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not_found"), ("PUT", "/letters", 405, "method_not_allowed")],
)
async def test_unknown_paths_and_methods_are_problems(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """An unknown path or method is answered with problem details."""
    refused(await client.request(method, path), status, code)


async def test_a_405_lists_the_allowed_methods(client: httpx.AsyncClient) -> None:
    """The answer to a method that a path does not have lists those that it has (RFC 9110, section 15.5.6)."""
    assert (await client.put("/letters")).headers["Allow"] == "POST"


async def test_a_problem_is_answered_with_all_of_its_parts(client: httpx.AsyncClient) -> None:
    """The answer to a problem has its code, its detail, Retry-After and a bare challenge of this service."""
    response = await client.get("/teapot")
    assert refused(response, 418, "teapot")["detail"] == "short and stout"
    assert response.headers["Retry-After"] == "3"
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="product"'


async def test_a_defect_is_answered_with_a_bare_500(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected exception is answered with a bare 500 and the request id, under which the log has the exception."""
    response = await client.get("/defect", headers={"X-Request-ID": "find-me"})
    refused(response, 500, "internal_error")
    assert "hunter2" not in response.text
    assert response.headers["X-Request-ID"] == "find-me"
    [record] = [record for record in caplog.records if vars(record).get("event") == "defect"]
    assert record.message == "a defect: GET /defect raised RuntimeError"
    assert record.exc_info


async def test_a_request_that_a_stopping_server_cancels(tmp_path: Path, firebase: FakeFirebase) -> None:
    """A stopping uvicorn cancels what takes too long. The answer says that another attempt may help."""
    app = an_app(tmp_path, firebase)
    app.state.began = asyncio.Event()
    async with serving(app) as client:
        answering = asyncio.create_task(client.get("/endless"))
        await app.state.began.wait()
        answering.cancel()
        answer = await answering
    refused(answer, 503, "stopping")
    assert answer.headers["Retry-After"] == "1"


async def test_a_defect_in_the_middle_of_an_answer_ends_it(client: httpx.AsyncClient) -> None:
    """An answer that fails after its beginning is not completed as if nothing had happened."""
    with pytest.raises(RuntimeError, match="half way"):
        await client.get("/broken-stream")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"password": "hunter2"}', "password"),
        (b'{"password": "hunter2-hunter2", "pages": 10}', "pages"),
        (b'{"password": "hunter2-hunter2", "pages": %d}' % 10**40, "pages"),
        (b'{"password": "hunter2-hunter2", "pages": "1"}', "pages"),
        (b'{"password": "hunter2-hunter2", "pages": NaN}', "pages"),
        (b'{"password": "\\ud800-hunter2-hunter2"}', "password"),
        (b'{"password": "hunter2-hunter2", "more": 1}', "more"),
        (b'{"password": "hunter2-hunter2", "\\ud800": 1}', ""),
        (b"[]", ""),
        (b"{", "1"),
    ],
)
async def test_an_invalid_body_is_located(client: httpx.AsyncClient, body: bytes, field: str) -> None:
    """The answer to an invalid body names the wrong fields, and repeats none of their values."""
    response = await client.post("/letters", content=body, headers={"Content-Type": "application/json"})
    problem = refused(response, 422, "request_invalid")
    assert [error["in"] for error in problem["errors"]] == ["body"]
    assert problem["errors"][0]["field"] == field
    assert "hunter2" not in response.text


async def test_the_list_of_wrong_fields_is_limited(client: httpx.AsyncClient) -> None:
    """However many fields are wrong, the answer stays short."""
    body = {"password": "hunter2-hunter2"} | {f"{number}{'x' * 300}": 1 for number in range(100)}
    problem = refused(await client.post("/letters", json=body), 422, "request_invalid")
    assert len(problem["errors"]) == 20
    assert max(len(error["field"]) for error in problem["errors"]) == 200


@pytest.mark.parametrize("body", [b'{"password": "\xff"}', b"[" * 50_000, b"9" * 5000])
async def test_a_body_that_cannot_be_read(client: httpx.AsyncClient, body: bytes) -> None:
    """Bytes that are not UTF-8, very deep nesting and very long numbers are a bad request, not a defect."""
    response = await client.post("/letters", content=body, headers={"Content-Type": "application/json"})
    refused(response, 400, "body_unreadable")


async def test_a_body_with_a_too_large_content_length(client: httpx.AsyncClient) -> None:
    """A body is refused if its announced length exceeds the limit."""
    refused(await client.post("/letters", content=b" " * (MAX_BODY_BYTES + 1)), 413, "body_too_large")


async def test_a_body_that_grows_too_long(client: httpx.AsyncClient) -> None:
    """A body in pieces is refused as soon as they exceed the limit."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1024 + 1):
            yield b" " * 1024

    refused(await client.post("/letters", content=pieces()), 413, "body_too_large")


async def test_a_body_of_the_maximum_length(client: httpx.AsyncClient) -> None:
    """A body of exactly the maximum length is read."""
    body = b'{"password": "hunter2-hunter2"}'.ljust(MAX_BODY_BYTES)
    answered(await client.post("/letters", content=body, headers={"Content-Type": "application/json"}))


@pytest.mark.parametrize("sent", ["a b", "x" * 65, 'a"b', ""])
async def test_an_invalid_request_id_is_replaced(client: httpx.AsyncClient, sent: str) -> None:
    """A request id with other characters, or a longer one, is replaced, so that it cannot forge log lines."""
    response = await client.get("/healthz", headers={"X-Request-ID": sent})
    assert response.headers["X-Request-ID"] not in ("", sent)


async def test_the_request_id_is_known_during_the_request(client: httpx.AsyncClient) -> None:
    """While a request is answered its id is known, to be sent with calls that it leads to. Afterwards it is not."""
    body = {"password": "hunter2-hunter2"}
    assert answered(await client.post("/letters", json=body, headers={"X-Request-ID": "r-1"})) == "r-1"
    assert current_request_id() is None


async def test_the_request_log(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """Each request is logged with method, path, status and duration, and without anything that may be secret."""
    caplog.set_level(logging.INFO, "services.requests")
    await client.get("/nowhere%0A2026?key=hunter2", headers={"Authorization": "Bearer hunter2"})
    [record] = [record for record in caplog.records if record.name == "services.requests"]
    assert record.__dict__["method"] == "GET"
    assert record.__dict__["path"] == "/nowhere\n2026"
    assert re.fullmatch(r"GET /nowhere\\n2026 404 in \d+\.\d ms", record.message)
    assert record.__dict__["status"] == 404
    assert record.__dict__["duration_ms"] >= 0
    assert "hunter2" not in str(record.__dict__)


@pytest.mark.both_modes
async def test_a_route_for_users_admits_users_only(client: httpx.AsyncClient, firebase: FakeFirebase) -> None:
    """A route for users knows the caller's uid, and refuses services and callers without a token."""
    assert answered(await client.get("/me", headers=firebase.user_headers("maya"))) == "maya"
    service = firebase.service_auth("billing", to="product")
    refused(await client.get("/me", auth=service), 403, "caller_not_allowed")
    refused(await client.get("/me"), 401, "user_token_missing")


async def test_other_protocols_are_left_to_the_framework(tmp_path: Path, firebase: FakeFirebase) -> None:
    """A connection that is not HTTP, such as a WebSocket, is left to the framework."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/nowhere", "headers": [], "query_string": b"", "extensions": {}}
    await an_app(tmp_path, firebase)(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_documented_responses_are_problems() -> None:
    """The documented error responses of a route are problem details, with the code of each problem."""
    responses = documented(Teapot, body=True)
    assert list(responses) == [400, 408, 413, 418, 422, 500, 503, 504]
    assert "`teapot`" in responses[418]["description"]
    assert all(list(response["content"]) == ["application/problem+json"] for response in responses.values())
