"""Google's metadata server, played for every service of the shop, so that google-auth runs here as it does on Google's.

In production a service proves who it is with an identity token from the metadata server that is its own alone. Here
each service gets a port instead, since google-auth's variables name a host and no path: GCE_METADATA_HOST and
GCE_METADATA_IP, both as host:port. Who asks on a service's port is that service, with nothing to prove, as on Google's:

    GET  /                                             what google-auth looks for, to learn whether the server is there
    GET  /computeMetadata/v1/instance/service-accounts/default/identity?audience=...&format=full
    GET  /computeMetadata/v1/instance/service-accounts/default/?recursive=true
    GET  /computeMetadata/v1/instance/service-accounts/default/email
    GET  /computeMetadata/v1/project/project-id
    GET  /computeMetadata/v1/universe/universe-domain
    GET  /oauth2/v1/certs                              the certificates; Google's are at www.googleapis.com

Access tokens are not among them (404): they are for Google's APIs, and nothing here calls any.

Run it with `python -m emulator.local.metadata --service billing=9103 --service product=9102`, one process for all
services. For development and tests only.

Sources: what google-auth asks for is in its google/auth/compute_engine/_metadata.py and credentials.py; what Google
answers is at https://cloud.google.com/compute/docs/metadata/overview and, for identity tokens, at
https://cloud.google.com/compute/docs/instances/verifying-instance-identity.
"""

import argparse
import contextlib
import hashlib
import json
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from starlette.middleware.base import RequestResponseEndpoint
from starlette.responses import JSONResponse, PlainTextResponse

from mstoken.strict_jwt import base64url

from .keys import Key, compact

HOST = "127.0.0.1"
CERTIFICATES_PATH = "/oauth2/v1/certs"
ACCOUNTS_PATH = "/computeMetadata/v1/instance/service-accounts"
IDENTITY_PATH = f"{ACCOUNTS_PATH}/default/identity"
ISSUER = "https://accounts.google.com"
UNIVERSE = "googleapis.com"
FLAVOR_HEADER = "Metadata-Flavor"
FLAVOR = "Google"
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
LIFETIME_SECONDS = 3_600
MAX_AGE_SECONDS = 21_600

_SIGNER = "federated-signon.system.gserviceaccount.com"
"""Whom Google's certificates for identity tokens name."""


@dataclass(frozen=True)
class Metadata:
    """What the routes share: which port is whose, the project of them all, and the key that signs."""

    services: Mapping[int, str]
    project: str
    key: Key = field(default_factory=lambda: Key(_SIGNER))


@dataclass(frozen=True)
class Account:
    """The service account that a service runs as."""

    email: str

    @property
    def unique_id(self) -> str:
        """The number that Google knows it by: 21 digits, always the same ones."""
        return str(10**20 + int(hashlib.sha256(self.email.encode()).hexdigest(), 16) % 10**20)

    def claims(self, audience: str, issued_at: int, *, full: bool) -> dict[str, Any]:
        """The claims of its identity token, issued at `issued_at` (seconds since the epoch)."""
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "azp": self.unique_id,
            "sub": self.unique_id,
            "iat": issued_at,
            "exp": issued_at + LIFETIME_SECONDS,
        }
        return claims | ({"email": self.email, "email_verified": True} if full else {})


def email_of(service: str, project: str) -> str:
    """The e-mail address of the service account that a service runs as."""
    return f"{service}@{project}.iam.gserviceaccount.com"


def _metadata(request: Request) -> Metadata:
    state: Metadata = request.app.state.metadata
    return state


def _account(request: Request, name: str) -> Account:
    """The account of the service whose port was called; its names are its address and "default"."""
    state = _metadata(request)
    email = email_of(state.services[request.scope["server"][1]], state.project)
    if name not in ("default", email):
        raise HTTPException(404)
    return Account(email)


MetadataState = Annotated[Metadata, Depends(_metadata)]
AccountOfCaller = Annotated[Account, Depends(_account)]

routes = APIRouter(default_response_class=PlainTextResponse)


@routes.get("/")
async def root() -> str:
    """What there is."""
    return "computeMetadata/\n"


@routes.get(CERTIFICATES_PATH)
async def certificates(state: MetadataState) -> JSONResponse:
    """The certificate by key id, with the `max-age` that Google gives its own."""
    return JSONResponse(
        {state.key.key_id: state.key.certificate},
        headers={"Cache-Control": f"public, max-age={MAX_AGE_SECONDS}, must-revalidate"},
    )


@routes.get(ACCOUNTS_PATH + "/{name}/identity")
async def identity(
    state: MetadataState,
    account: AccountOfCaller,
    audience: str = "",
    format: str = "standard",  # noqa: A002 - Google's name for it
) -> Response:
    """An identity token for the audience. Only with the format "full" does it tell the account's e-mail address."""
    if not audience:
        return PlainTextResponse("non-empty audience parameter required", 400)
    claims = account.claims(audience, int(time.time()), full=format == "full")
    return PlainTextResponse(compact(state.key.header, base64url(json.dumps(claims).encode()), state.key))


@routes.get(ACCOUNTS_PATH + "/{name}/")
async def details(account: AccountOfCaller, recursive: str = "false") -> JSONResponse:
    """All about the account but its tokens. The directory that Google gives without recursive=true is not here."""
    if recursive != "true":
        raise HTTPException(404)
    return JSONResponse({"aliases": ["default"], "email": account.email, "scopes": SCOPES})


@routes.get(ACCOUNTS_PATH + "/{name}/email")
async def email(account: AccountOfCaller) -> str:
    """The account's e-mail address."""
    return account.email


@routes.get("/computeMetadata/v1/project/project-id")
async def project_id(state: MetadataState) -> str:
    """The project's id."""
    return state.project


@routes.get("/computeMetadata/v1/universe/universe-domain")
async def universe_domain() -> str:
    """Which cloud this would be: the usual one."""
    return UNIVERSE


async def as_google(request: Request, answer: RequestResponseEndpoint) -> Response:
    """The answer with Google's mark; or a refusal, where the request may be one that a service was tricked into.

    Such a request comes from elsewhere through a service that forwards, or fetches what it is told to: it lacks the
    header, which only those send who mean to ask here, or carries the one that proxies add.
    """
    response = _refusal(request) or await answer(request)
    response.headers[FLAVOR_HEADER] = FLAVOR
    return response


def _refusal(request: Request) -> Response | None:
    path = request.scope["path"]  # what routes go by; request.url is put together with the Host header
    if path == CERTIFICATES_PATH:
        return None
    if "X-Forwarded-For" in request.headers:
        return PlainTextResponse("X-Forwarded-For is not allowed.", 403)
    if path != "/" and request.headers.get(FLAVOR_HEADER) != FLAVOR:
        return PlainTextResponse(f"Missing {FLAVOR_HEADER}:{FLAVOR} header.", 403)
    return None


def create_app(services: Mapping[int, str], project: str) -> FastAPI:
    """The metadata servers of the project's services, told apart by the port that is called: port -> service."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.metadata = Metadata(services, project)
    app.middleware("http")(as_google)
    app.include_router(routes)
    return app


def _service_and_port(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"([a-z][a-z0-9-]*)=([1-9][0-9]{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not like billing=9103')
    return match[1], int(match[2])


def main() -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}.metadata", description="Plays Google's metadata server."
    )
    parser.add_argument("--service", type=_service_and_port, action="append", required=True, metavar="NAME=PORT")
    parser.add_argument("--project", default="demo-shop", metavar="ID")
    arguments = parser.parse_args()
    services = {port: service for service, port in arguments.service}
    if len(services) < len(arguments.service):
        parser.error("two services cannot share a port")
    sockets = [socket.create_server((HOST, port)) for port in services]
    server = uvicorn.Server(uvicorn.Config(create_app(services, arguments.project), log_level="warning"))
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it anew when it has ended
        server.run(sockets=sockets)


if __name__ == "__main__":
    main()
