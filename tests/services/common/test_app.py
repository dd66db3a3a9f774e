"""services/common/app.py, with middleware.py, problems.py and callers.py around it"""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import Field
from starlette.responses import StreamingResponse
from starlette.types import Message

from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.errors import VerifierUnavailable
from mstoken.problem import Problem
from mstoken.testing import FakeFirebase
from mstoken.wire import BEARER_SCHEME
from services.common.app import build
from services.common.callers import SignedInUser
from services.common.database import Database
from services.common.middleware import MAX_BODY_BYTES, current_request_id
from services.common.problems import documented
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
        raise VerifierUnavailable("the replay store is down")


class Resource:
    """Something that is opened and closed with the app."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def __aenter__(self) -> None:
        self.events.append("opened")

    async def __aexit__(self, *_error: object) -> None:
        self.events.append("closed")


def some_routes() -> APIRouter:
    routes = APIRouter()

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

    @routes.get("/me")
    async def me(caller: SignedInUser) -> str:
        return caller.uid

    return routes


def an_app(tmp_path: Path, firebase: FakeFirebase, **changes: Any) -> FastAPI:
    parts: dict[str, Any] = {
        "verifier": firebase.verifier("product"),
        "database": Database(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}", MIGRATIONS),
    }
    return build("Some", "Some routes.", some_routes(), **(parts | changes))


@pytest.fixture
async def client(tmp_path: Path, firebase: FakeFirebase) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app with a few routes."""
    async with serving(an_app(tmp_path, firebase)) as client:
        yield client


async def test_health_and_readiness(client: httpx.AsyncClient) -> None:
    """A service that has started is healthy and ready."""
    assert answered(await client.get("/healthz")) == {"status": "ok"}
    assert answered(await client.get("/readyz")) == {"status": "ready", "warnings": []}


async def test_not_ready_without_the_replay_store(tmp_path: Path, firebase: FakeFirebase) -> None:
    """A service that cannot verify tokens is healthy, but not ready, and says what is missing."""
    app = an_app(tmp_path, firebase, verifier=firebase.verifier("product", replay=DownReplayStore()))
    async with serving(app) as client:
        problem = refused(await client.get("/readyz"), 503, "verifier_unavailable")
        assert problem["detail"] == "the replay store is down"
        answered(await client.get("/healthz"))


async def test_not_ready_without_the_database(tmp_path: Path, firebase: FakeFirebase) -> None:
    """A service whose database is gone is not ready, and says when to ask again."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'gone' / 'x.db'}", MIGRATIONS)
    app = an_app(tmp_path, firebase, database=database)
    async with serving(app) as client:
        await database.close()
        for path in (tmp_path / "gone").iterdir():
            path.unlink()
        (tmp_path / "gone").rmdir()
        response = await client.get("/readyz")
    refused(response, 503, "database_unavailable")
    assert response.headers["Retry-After"] == "1"


async def test_resources_live_as_long_as_the_app(tmp_path: Path, firebase: FakeFirebase) -> None:
    """What an app needs is opened before it serves, and closed after."""
    resource = Resource()
    async with serving(an_app(tmp_path, firebase, resources=[resource])):
        assert resource.events == ["opened"]
    assert resource.events == ["opened", "closed"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not_found"), ("PUT", "/letters", 405, "method_not_allowed")],
)
async def test_the_frameworks_refusals(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """Unknown paths and methods are answered with problem details."""
    refused(await client.request(method, path), status, code)


async def test_a_405_says_what_is_allowed(client: httpx.AsyncClient) -> None:
    """A path names the methods that it has (RFC 9110, section 15.5.6)."""
    assert (await client.put("/letters")).headers["Allow"] == "POST"


async def test_a_fault_on_the_wire(client: httpx.AsyncClient) -> None:
    """A fault is answered with its code, its detail, when to try again, and the challenge."""
    response = await client.get("/teapot")
    assert refused(response, 418, "teapot")["detail"] == "short and stout"
    assert response.headers["Retry-After"] == "3"
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="product"'


async def test_a_defect_tells_strangers_nothing(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody expected is a bare 500, with the id under which the log has the rest."""
    response = await client.get("/defect", headers={"X-Request-ID": "find-me"})
    refused(response, 500, "internal_error")
    assert "hunter2" not in response.text
    assert response.headers["X-Request-ID"] == "find-me"
    [record] = [record for record in caplog.records if record.message == "defect"]
    assert record.exc_info


async def test_a_defect_half_way_through_an_answer_breaks_it_off(client: httpx.AsyncClient) -> None:
    """An answer that fails after its beginning is not completed as if all were well."""
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
async def test_a_bad_body_is_told_where(client: httpx.AsyncClient, body: bytes, field: str) -> None:
    """A body that is not as documented gets the place where, and none of its values back."""
    response = await client.post("/letters", content=body, headers={"Content-Type": "application/json"})
    problem = refused(response, 422, "request_invalid")
    assert [error["in"] for error in problem["errors"]] == ["body"]
    assert problem["errors"][0]["field"] == field
    assert "hunter2" not in response.text


async def test_a_flood_of_faults_is_cut_off(client: httpx.AsyncClient) -> None:
    """However many fields are wrong, the answer stays short."""
    body = {"password": "hunter2-hunter2"} | {f"{number}{'x' * 300}": 1 for number in range(100)}
    problem = refused(await client.post("/letters", json=body), 422, "request_invalid")
    assert len(problem["errors"]) == 20
    assert max(len(error["field"]) for error in problem["errors"]) == 200


@pytest.mark.parametrize("body", [b'{"password": "\xff"}', b"[" * 50_000, b"9" * 5000])
async def test_a_body_that_cannot_be_read(client: httpx.AsyncClient, body: bytes) -> None:
    """Bytes that are no UTF-8, bottomless nesting and endless numbers are a bad request, not a defect."""
    response = await client.post("/letters", content=body, headers={"Content-Type": "application/json"})
    refused(response, 400, "body_unreadable")


async def test_a_body_that_is_announced_too_long(client: httpx.AsyncClient) -> None:
    """A body beyond the limit is refused by its announced length."""
    refused(await client.post("/letters", content=b" " * (MAX_BODY_BYTES + 1)), 413, "body_too_large")


async def test_a_body_that_turns_out_too_long(client: httpx.AsyncClient) -> None:
    """A body in pieces is refused once they are more than the limit."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1024 + 1):
            yield b" " * 1024

    refused(await client.post("/letters", content=pieces()), 413, "body_too_large")


async def test_a_body_of_the_longest_kind(client: httpx.AsyncClient) -> None:
    """A body of exactly the limit is read."""
    body = b'{"password": "hunter2-hunter2"}'.ljust(MAX_BODY_BYTES)
    answered(await client.post("/letters", content=body, headers={"Content-Type": "application/json"}))


@pytest.mark.parametrize("sent", ["a b", "x" * 65, 'a"b', ""])
async def test_an_insane_request_id_is_replaced(client: httpx.AsyncClient, sent: str) -> None:
    """A request id that could upset a log is not taken over."""
    response = await client.get("/healthz", headers={"X-Request-ID": sent})
    assert response.headers["X-Request-ID"] not in ("", sent)


async def test_the_request_id_is_at_hand(client: httpx.AsyncClient) -> None:
    """While a request is answered its id is known, for calls that it leads to; afterwards it is not."""
    body = {"password": "hunter2-hunter2"}
    assert answered(await client.post("/letters", json=body, headers={"X-Request-ID": "r-1"})) == "r-1"
    assert current_request_id() is None


async def test_the_request_log(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """Each request is a line with method, path, status and duration, and nothing that may be secret."""
    caplog.set_level(logging.INFO, "services.requests")
    await client.get("/nowhere?key=hunter2", headers={"Authorization": "Bearer hunter2"})
    [record] = [record for record in caplog.records if record.name == "services.requests"]
    assert record.__dict__["method"] == "GET"
    assert record.__dict__["path"] == "/nowhere"
    assert record.__dict__["status"] == 404
    assert record.__dict__["duration_ms"] >= 0
    assert "hunter2" not in str(record.__dict__)


async def test_a_signed_in_user(client: httpx.AsyncClient, firebase: FakeFirebase) -> None:
    """A route for users knows who calls, and lets no service in."""
    assert answered(await client.get("/me", headers=firebase.user_headers("maya"))) == "maya"
    service = firebase.service_auth("billing", to="product")
    refused(await client.get("/me", auth=service), 403, "caller_not_allowed")
    refused(await client.get("/me"), 401, "user_token_missing")


async def test_other_protocols_pass_through(tmp_path: Path, firebase: FakeFirebase) -> None:
    """What is no HTTP request, a WebSocket say, is left to the framework."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/nowhere", "headers": [], "query_string": b"", "extensions": {}}
    await an_app(tmp_path, firebase)(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_documented_responses_are_problems() -> None:
    """What a route may answer besides its own stands in its documentation as problem details, a fault with its code."""
    responses = documented(Teapot, body=True)
    assert list(responses) == [400, 413, 418, 422, 500, 503, 504]
    assert "`teapot`" in responses[418]["description"]
    assert all(list(response["content"]) == ["application/problem+json"] for response in responses.values())
