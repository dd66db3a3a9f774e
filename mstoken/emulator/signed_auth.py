"""The signed Auth emulator: a proxy in front of the Auth emulator that signs its ID tokens and publishes certificates.

The Auth emulator's ID tokens are unsigned, so a service that accepts them accepts forged tokens too. This proxy passes
every request on to the Auth emulator, signs the ID tokens in the answers with RS256, and serves the certificates under
the same path as Google:

    GET  /robot/v1/metadata/x509/securetoken@system.gserviceaccount.com

Everything that uses Firebase Auth uses this port. Tests control the proxy under a path that no Google API has:

    POST /_signed/announce   publish the certificate of the key that signs after the next rotation
    POST /_signed/rotate     sign with the announced key from now on, or with a new key that was not announced;
                             the old certificate stays published
    POST /_signed/tokens     make any token, valid or not, as a `TokenSpec` describes it
    PUT  /_signed/faults     inject the faults that `Faults` describes from now on; {} ends them

It listens on 127.0.0.1 only. It refuses every request to a host other than localhost, 127.0.0.1 and [::1], and every
request of a web page that is not at one of these hosts (see web_pages). The status is 403. A web app on this machine
can sign in with Firebase's web SDK: the Auth emulator answers its CORS requests. No web page, local or not, may send
requests to the control paths.

`mstoken emulator` runs it. For development and tests only.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import httpx
from fastapi import APIRouter, Body, FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mstoken.client_pool import ClientPool
from mstoken.strict_jwt import base64url, unverified

from . import web_pages
from .keys import Key, make_jws

CERTIFICATES_PATH = "/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
CONTROL_PATH = "/_signed/"
ISSUER = "https://securetoken.google.com/"
MAX_AGE_SECONDS = 21_600
STILL_PUBLISHED_SECONDS = 7_200
"""How long to serve the certificate of a key that no longer signs, in seconds: longer than an ID token lives."""
UPSTREAM_TIMEOUT_SECONDS = 30.0
MAX_REQUESTS = 256
"""How many requests the Auth emulator gets at the same time."""
MAX_IDLE_CONNECTIONS = 64
IDLE_SECONDS = 4.0
"""How long an idle connection is used again, in seconds. Node closes it after 5 seconds."""

_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"}
_NOT_SENT_ON = _HOP_BY_HOP | {"host", "content-length", "accept-encoding"}
_NOT_SENT_BACK = _HOP_BY_HOP | {"content-length", "content-encoding", "date", "server"}


class KeyRing:
    """The key that signs now, the key that was announced to follow it, and earlier keys whose tokens may still live."""

    def __init__(self, *, make_key: Callable[[], Key] = Key, clock: Callable[[], float] = time.time) -> None:
        self._make_key = make_key
        self._clock = clock
        self._signing = make_key()
        self._announced: Key | None = None
        self._retired: list[Key] = []

    @property
    def signing(self) -> Key:
        """The key that signs now."""
        return self._signing

    def announce(self) -> Key:
        """Publish the key of the next rotation, and return it."""
        self._announced = self._announced or self._make_key()
        return self._announced

    def rotate(self) -> Key:
        """Sign with the announced key from now on, or with a new key if none was announced. Return the key."""
        self._signing.retired_at = self._clock()
        self._retired.append(self._signing)
        self._signing, self._announced = self._announced or self._make_key(), None
        return self._signing

    def published(self) -> dict[str, str]:
        """Return the certificates by key id, in the format in which Google serves them."""
        earliest = self._clock() - STILL_PUBLISHED_SECONDS
        self._retired = [key for key in self._retired if key.retired_at is None or key.retired_at > earliest]
        keys = [self._signing, *([self._announced] if self._announced else []), *self._retired]
        return {key.key_id: key.certificate for key in keys}

    def sign_unsigned(self, value: Any) -> Any:
        """Return a copy of `value`, a JSON value, in which every unsigned ID token is signed."""
        match value:
            case dict():
                return {name: self.sign_unsigned(member) for name, member in value.items()}
            case list():
                return [self.sign_unsigned(member) for member in value]
            case str() if _is_unsigned_id_token(value):
                return make_jws(self._signing.header, value.split(".")[1], self._signing)
            case _:
                return value

    def make(self, spec: "TokenSpec") -> str:
        """Return the token that `spec` describes."""
        text = spec.payload_text if spec.payload_text is not None else json.dumps(spec.payload)
        match spec.key:
            case "published":
                key: Key | None = self._signing
            case "other":
                key = self._make_key()
            case "none":
                key = None
        return make_jws(self._signing.header | spec.header, base64url(text.encode("utf-8", "surrogateescape")), key)


class TokenSpec(BaseModel):
    """A token for `/_signed/tokens` to make.

    `header` is merged over the usual header. `payload_text` replaces `payload`, to send text that is not proper JSON;
    its lone surrogates stand for bytes that are not UTF-8. `key` is the key that signs: the published one, another one
    under the same key id, or none.
    """

    model_config = ConfigDict(extra="forbid")

    header: dict[str, Any] = Field(default_factory=dict)
    payload: dict[str, Any] = Field(default_factory=dict)
    payload_text: str | None = None
    key: Literal["published", "other", "none"] = "published"


class Faults(BaseModel):
    """Faults to inject: wait `delay_seconds`, then answer with `status` if it is set.

    `scope` says which requests they apply to.
    """

    model_config = ConfigDict(extra="forbid")

    delay_seconds: float = Field(default=0, ge=0, le=60)
    status: int | None = Field(default=None, ge=400, le=599)
    scope: Literal["all", "auth", "certificates"] = "all"

    def apply_to(self, path: str) -> bool:
        """Return whether the faults apply to a request for `path`."""
        kind = "certificates" if path == CERTIFICATES_PATH else "auth"
        return self.scope in ("all", kind)


@dataclass
class SignedAuth:
    """What the proxy's routes share."""

    upstream: ClientPool
    keys: KeyRing
    faults: Faults = field(default_factory=Faults)
    max_age_seconds: int = MAX_AGE_SECONDS


routes = APIRouter()


class _RefuseWebPages:
    """Refuses requests of foreign web pages, and requests of any web page to a control path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            is_control = scope["path"].startswith(CONTROL_PATH)
            if reason := web_pages.refusal(Headers(scope=scope), local_pages=not is_control):
                app = JSONResponse({"error": {"code": 403, "message": reason}}, 403)
        await app(scope, receive, send)


@routes.get(CERTIFICATES_PATH)
async def certificates(request: Request) -> Response:
    """Return the published certificates, with the `max-age` that Google uses."""
    state = _state(request)
    if fault := await _fault(state, request):
        return fault
    return JSONResponse(
        state.keys.published(),
        headers={"Cache-Control": f"public, max-age={state.max_age_seconds}, must-revalidate, no-transform"},
    )


@routes.post("/_signed/announce")
async def announce(request: Request) -> dict[str, str]:
    """Announce the next key, and return its id."""
    return {"key_id": _state(request).keys.announce().key_id}


@routes.post("/_signed/rotate")
async def rotate(request: Request) -> dict[str, str]:
    """Change the key that signs, and return the id of the new one."""
    return {"key_id": _state(request).keys.rotate().key_id}


@routes.post("/_signed/tokens")
async def tokens(request: Request, spec: TokenSpec) -> dict[str, str]:
    """Return the token that `spec` describes."""
    return {"token": _state(request).keys.make(spec)}


@routes.put("/_signed/faults")
async def faults(request: Request, faults: Annotated[Faults, Body()]) -> Faults:
    """Inject these faults from now on. An empty object ends them."""
    _state(request).faults = faults
    return faults


@routes.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def pass_on(request: Request) -> Response:
    """Pass any other request on to the Auth emulator, and sign the ID tokens in its answer."""
    state = _state(request)
    if fault := await _fault(state, request):
        return fault
    content = await request.body()
    raw_path = request.scope["raw_path"] + (b"?" + request.url.query.encode() if request.url.query else b"")
    try:
        async with state.upstream.client() as client:
            answer = await client.request(
                request.method,
                client.base_url.copy_with(raw_path=raw_path),
                headers=[(name, value) for name, value in request.headers.items() if name not in _NOT_SENT_ON],
                content=content,
            )
    except httpx.HTTPError as error:
        reason = f"The Auth emulator does not answer ({type(error).__name__}). Is it running?"
        return _error(request, 503, reason)
    headers = {name: value for name, value in answer.headers.items() if name not in _NOT_SENT_BACK}
    return Response(_signed(state.keys, answer), answer.status_code, headers)


def create_app(
    upstream: str, *, transport: httpx.AsyncBaseTransport | None = None, make_key: Callable[[], Key] = Key
) -> FastAPI:
    """Return the proxy in front of the Auth emulator at `upstream` (host:port). `make_key` makes its signing keys."""

    def client() -> httpx.AsyncClient:
        # The Auth emulator is on this machine or beside it, never behind the proxy that the environment may name.
        return httpx.AsyncClient(
            base_url=f"http://{upstream}",
            timeout=UPSTREAM_TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=IDLE_SECONDS),
            transport=transport,
            verify=verify,
            trust_env=False,
        )

    # Read once, for all connections.
    verify = httpx.create_ssl_context(trust_env=False) if transport is None else True

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        clients = ClientPool(
            client,
            max_clients=MAX_REQUESTS,
            max_idle=MAX_IDLE_CONNECTIONS,
            idle_seconds=IDLE_SECONDS,
            wait_seconds=UPSTREAM_TIMEOUT_SECONDS,
        )
        try:
            app.state.signed_auth = SignedAuth(clients, KeyRing(make_key=make_key))
            yield
        finally:
            await clients.aclose()

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.add_middleware(_RefuseWebPages)
    app.include_router(routes)
    return app


def _state(request: Request) -> SignedAuth:
    state: SignedAuth = request.app.state.signed_auth
    return state


async def _fault(state: SignedAuth, request: Request) -> Response | None:
    faults = state.faults
    # A browser tells a page no more about a preflight request that fails than about a network that is down.
    if request.method == "OPTIONS" or not faults.apply_to(request.url.path):
        return None
    await asyncio.sleep(faults.delay_seconds)
    if faults.status is None:
        return None
    return _error(request, faults.status, "INJECTED_FAULT")


def _error(request: Request, status: int, message: str) -> Response:
    """Return an error in Firebase's format, which a local web page may read. No other page gets this far."""
    origin = request.headers.get("Origin")
    headers = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin else None
    return JSONResponse({"error": {"code": status, "message": message}}, status, headers)


def _signed(keys: KeyRing, answer: httpx.Response) -> bytes:
    if not answer.headers.get("Content-Type", "").startswith("application/json"):
        return answer.content
    return json.dumps(keys.sign_unsigned(answer.json())).encode() if answer.content else b""


def _is_unsigned_id_token(text: str) -> bool:
    try:
        token = unverified(text)
    except ValueError:
        return False
    issuer = str(token.payload.get("iss", ""))
    return not token.signature and token.header.get("alg") == "none" and issuer.startswith(ISSUER)
