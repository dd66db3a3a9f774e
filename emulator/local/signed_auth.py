"""The Auth emulator, made honest: a proxy before it that signs its ID tokens and publishes the certificates.

The Auth emulator's ID tokens are unsigned, so against it a forged token passes. This process passes every request on
to it, signs the ID tokens in the answers with RS256, and serves the certificates where Google would:

    GET  /robot/v1/metadata/x509/securetoken@system.gserviceaccount.com

Everything that talks to Firebase Auth talks to this port. Tests steer it under a path that no Google API has:

    POST /_signed/announce   publishes another certificate, which the next rotation will sign with
    POST /_signed/rotate     signs with the announced key from now on, or with a new one without notice;
                             the old certificate stays published
    POST /_signed/tokens     makes a token with whatever is wrong with it, from a `TokenOrder`
    PUT  /_signed/faults     misbehaves from now on as `Faults` says; {} ends it

Run it with `python -m emulator.local.signed_auth --port 9100 --upstream 127.0.0.1:9099`.
For development and tests only.
"""

import argparse
import asyncio
import base64
import binascii
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import httpx
import uvicorn
from fastapi import APIRouter, Body, FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from mstoken.strict_jwt import base64url

from .keys import Key, compact

CERTIFICATES_PATH = "/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
ISSUER = "https://securetoken.google.com/"
MAX_AGE_SECONDS = 21_600
STILL_PUBLISHED_SECONDS = 7_200
"""How long the certificate of a key that signs no more is served: longer than an ID token lives."""
UPSTREAM_TIMEOUT_SECONDS = 30.0

_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"}
_NOT_SENT_ON = _HOP_BY_HOP | {"host", "content-length", "accept-encoding"}
_NOT_SENT_BACK = _HOP_BY_HOP | {"content-length", "content-encoding", "date", "server"}


class KeyRing:
    """The key that signs, the one announced to follow it, and those whose tokens are still about."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._signing = Key()
        self._announced: Key | None = None
        self._retired: list[Key] = []

    @property
    def signing(self) -> Key:
        """The key that signs now."""
        return self._signing

    def announce(self) -> Key:
        """Publishes the key of the next rotation."""
        self._announced = self._announced or Key()
        return self._announced

    def rotate(self) -> Key:
        """Signs with the announced key from now on, or with one that nobody has heard of."""
        self._signing.retired_at = self._clock()
        self._retired.append(self._signing)
        self._signing, self._announced = self._announced or Key(), None
        return self._signing

    def published(self) -> dict[str, str]:
        """Certificates by key id, as Google serves them."""
        earliest = self._clock() - STILL_PUBLISHED_SECONDS
        self._retired = [key for key in self._retired if key.retired_at is None or key.retired_at > earliest]
        keys = [self._signing, *([self._announced] if self._announced else []), *self._retired]
        return {key.key_id: key.certificate for key in keys}

    def sign_unsigned(self, value: Any) -> Any:
        """`value`, a JSON value, with every unsigned ID token in it signed."""
        match value:
            case dict():
                return {name: self.sign_unsigned(member) for name, member in value.items()}
            case list():
                return [self.sign_unsigned(member) for member in value]
            case str() if _is_unsigned_id_token(value):
                return compact(self._signing.header, value.split(".")[1], self._signing)
            case _:
                return value

    def make(self, order: "TokenOrder") -> str:
        """A token as ordered."""
        text = order.payload_text if order.payload_text is not None else json.dumps(order.payload)
        key = {"published": self._signing, "other": Key() if order.key == "other" else None, "none": None}[order.key]
        return compact(self._signing.header | order.header, base64url(text.encode("utf-8", "surrogateescape")), key)


class TokenOrder(BaseModel):
    """What `/_signed/tokens` is to make: headers over the usual ones, a payload, and who signs."""

    model_config = ConfigDict(extra="forbid")

    header: dict[str, Any] = Field(default_factory=dict)
    payload: dict[str, Any] = Field(default_factory=dict)
    payload_text: str | None = None
    key: Literal["published", "other", "none"] = "published"


class Faults(BaseModel):
    """How to misbehave: wait, then answer with `status` where one is given."""

    model_config = ConfigDict(extra="forbid")

    delay_seconds: float = Field(default=0, ge=0, le=60)
    status: int | None = Field(default=None, ge=400, le=599)
    scope: Literal["all", "auth", "certificates"] = "all"

    def concern(self, path: str) -> bool:
        """Whether a request for `path` is to meet the fault."""
        kind = "certificates" if path == CERTIFICATES_PATH else "auth"
        return self.scope in ("all", kind)


@dataclass
class SignedAuth:
    """What the proxy's routes share."""

    upstream: httpx.AsyncClient
    keys: KeyRing = field(default_factory=KeyRing)
    faults: Faults = field(default_factory=Faults)
    max_age_seconds: int = MAX_AGE_SECONDS


routes = APIRouter()


@routes.get(CERTIFICATES_PATH)
async def certificates(request: Request) -> Response:
    """The published certificates, with the `max-age` that Google gives them."""
    state = _state(request)
    if fault := await _fault(state, request):
        return fault
    return JSONResponse(
        state.keys.published(),
        headers={"Cache-Control": f"public, max-age={state.max_age_seconds}, must-revalidate, no-transform"},
    )


@routes.post("/_signed/announce")
async def announce(request: Request) -> dict[str, str]:
    """The id of the key that the next rotation will sign with."""
    return {"key_id": _state(request).keys.announce().key_id}


@routes.post("/_signed/rotate")
async def rotate(request: Request) -> dict[str, str]:
    """The id of the key that signs from now on."""
    return {"key_id": _state(request).keys.rotate().key_id}


@routes.post("/_signed/tokens")
async def tokens(request: Request, order: TokenOrder) -> dict[str, str]:
    """A token as ordered."""
    return {"token": _state(request).keys.make(order)}


@routes.put("/_signed/faults")
async def faults(request: Request, faults: Annotated[Faults, Body()]) -> Faults:
    """How to misbehave from now on; an empty object ends it."""
    _state(request).faults = faults
    return faults


@routes.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def pass_on(request: Request) -> Response:
    """Any other request goes to the Auth emulator, and comes back with its ID tokens signed."""
    state = _state(request)
    if fault := await _fault(state, request):
        return fault
    raw_path = request.scope["raw_path"] + (b"?" + request.url.query.encode() if request.url.query else b"")
    try:
        answer = await state.upstream.request(
            request.method,
            state.upstream.base_url.copy_with(raw_path=raw_path),
            headers=[(name, value) for name, value in request.headers.items() if name not in _NOT_SENT_ON],
            content=await request.body(),
        )
    except httpx.HTTPError as error:
        reason = f"The Auth emulator does not answer ({type(error).__name__})."
        return JSONResponse({"error": {"code": 503, "message": reason}}, 503)
    headers = {name: value for name, value in answer.headers.items() if name not in _NOT_SENT_BACK}
    return Response(_signed(state.keys, answer), answer.status_code, headers)


def create_app(upstream: str, *, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """The proxy before the Auth emulator at `upstream` (`host:port`)."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(
            base_url=f"http://{upstream}", timeout=UPSTREAM_TIMEOUT_SECONDS, transport=transport
        ) as client:
            app.state.signed_auth = SignedAuth(client)
            yield

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.include_router(routes)
    return app


def _state(request: Request) -> SignedAuth:
    state: SignedAuth = request.app.state.signed_auth
    return state


async def _fault(state: SignedAuth, request: Request) -> Response | None:
    faults = state.faults
    if not faults.concern(request.url.path):
        return None
    await asyncio.sleep(faults.delay_seconds)
    if faults.status is None:
        return None
    return JSONResponse({"error": {"code": faults.status, "message": "A_FAULT_WAS_ORDERED"}}, faults.status)


def _signed(keys: KeyRing, answer: httpx.Response) -> bytes:
    if not answer.headers.get("Content-Type", "").startswith("application/json"):
        return answer.content
    return json.dumps(keys.sign_unsigned(answer.json())).encode() if answer.content else b""


def _is_unsigned_id_token(text: str) -> bool:
    header, _, rest = text.partition(".")
    payload, _, signature = rest.partition(".")
    if signature or not payload:
        return False
    try:
        return bool(_json(header).get("alg") == "none" and str(_json(payload).get("iss", "")).startswith(ISSUER))
    except (ValueError, binascii.Error, AttributeError):
        return False


def _json(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def main() -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}.signed_auth", description="Signs the Auth emulator's tokens."
    )
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--upstream", default="127.0.0.1:9099", metavar="HOST:PORT")
    arguments = parser.parse_args()
    uvicorn.run(create_app(arguments.upstream), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
