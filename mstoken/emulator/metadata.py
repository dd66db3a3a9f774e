"""An emulator of Google's metadata server, for all services of a project. google-auth uses it as it uses Google's.

On Google Cloud each machine has a metadata server of its own. From there a service gets the identity token that proves
who it is. Here each service has a port of its own, because google-auth's variables GCE_METADATA_HOST and
GCE_METADATA_IP name a host (host:port) without a path. A request on a service's port comes from that service; as on
Google Cloud, no further proof is needed. The routes:

    GET  /                                             google-auth asks for this to find out if a server is there
    GET  /computeMetadata/v1/instance/service-accounts/default/identity?audience=...&format=full
    GET  /computeMetadata/v1/instance/service-accounts/default/?recursive=true
    GET  /computeMetadata/v1/instance/service-accounts/default/email
    GET  /computeMetadata/v1/project/project-id
    GET  /computeMetadata/v1/universe/universe-domain
    GET  /oauth2/v1/certs                              the certificates (Google serves them at www.googleapis.com)

There are no access tokens (404): those are for Google's APIs, and nothing here calls Google's APIs.

It listens on 127.0.0.1 only. As Google does, it refuses requests without the header `Metadata-Flavor: Google`, and
those that a proxy has passed on. It also refuses every request of a web page, and every request to a host other than
localhost, 127.0.0.1 and [::1]: no page needs the identity token of a service (see web_pages). The status is 403.

`mstoken emulator --service billing=9103 --service product=9102` runs it. For development and tests only.

Sources: what google-auth asks for is in its google/auth/compute_engine/_metadata.py and credentials.py; what Google
answers is at https://cloud.google.com/compute/docs/metadata/overview and, for identity tokens, at
https://cloud.google.com/compute/docs/instances/verifying-instance-identity.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from starlette.middleware.base import RequestResponseEndpoint
from starlette.responses import JSONResponse, PlainTextResponse

from mstoken.strict_jwt import base64url

from . import web_pages
from .keys import Key, make_jws

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
"""The common name in Google's certificates for identity tokens."""


@dataclass(frozen=True)
class Metadata:
    """What the routes share: the service of each port, the id of the project, and the key that signs."""

    services: Mapping[int, str]
    project: str
    key: Key = field(default_factory=lambda: Key(_SIGNER))


@dataclass(frozen=True)
class Account:
    """The service account that a service runs as."""

    email: str

    @property
    def unique_id(self) -> str:
        """The account's number at Google: 21 digits that depend only on the e-mail address."""
        return str(10**20 + int(hashlib.sha256(self.email.encode()).hexdigest(), 16) % 10**20)

    def claims(self, audience: str, issued_at: int, *, full: bool) -> dict[str, Any]:
        """Return the claims of an identity token of this account. `issued_at` is in seconds since the epoch.

        With `full` they include the account's e-mail address.
        """
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
    """Return the e-mail address of the service account that a service runs as."""
    return f"{service}@{project}.iam.gserviceaccount.com"


async def _metadata(request: Request) -> Metadata:
    state: Metadata = request.app.state.metadata
    return state


async def _account(request: Request, name: str) -> Account:
    """Return the account of the service whose port was called. Its names are "default" and its e-mail address."""
    state = await _metadata(request)
    email = email_of(state.services[request.scope["server"][1]], state.project)
    if name not in ("default", email):
        raise HTTPException(404)
    return Account(email)


MetadataState = Annotated[Metadata, Depends(_metadata)]
AccountOfCaller = Annotated[Account, Depends(_account)]

routes = APIRouter(default_response_class=PlainTextResponse)


@routes.get("/")
async def root() -> str:
    """Return the name of the only directory, as Google does."""
    return "computeMetadata/\n"


@routes.get(CERTIFICATES_PATH)
async def certificates(state: MetadataState) -> JSONResponse:
    """Return the certificate by key id, with the `max-age` that Google uses."""
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
    """Return an identity token for the audience. Only the format "full" includes the account's e-mail address."""
    if not audience:
        return PlainTextResponse("non-empty audience parameter required", 400)
    claims = account.claims(audience, int(time.time()), full=format == "full")
    return PlainTextResponse(make_jws(state.key.header, base64url(json.dumps(claims).encode()), state.key))


@routes.get(ACCOUNTS_PATH + "/{name}/")
async def details(account: AccountOfCaller, recursive: str = "false") -> JSONResponse:
    """Return everything about the account except its tokens. Only `recursive=true` is supported."""
    if recursive != "true":
        raise HTTPException(404)
    return JSONResponse({"aliases": ["default"], "email": account.email, "scopes": SCOPES})


@routes.get(ACCOUNTS_PATH + "/{name}/email")
async def email(account: AccountOfCaller) -> str:
    """Return the account's e-mail address."""
    return account.email


@routes.get("/computeMetadata/v1/project/project-id")
async def project_id(state: MetadataState) -> str:
    """Return the project's id."""
    return state.project


@routes.get("/computeMetadata/v1/universe/universe-domain")
async def universe_domain() -> str:
    """Return the domain of the cloud: Google's public one."""
    return UNIVERSE


async def answer_as_google(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Answer with the header `Metadata-Flavor: Google`. Refuse requests that a service may have been tricked into.

    An attacker can make a service that forwards requests, or fetches URLs, call this server (server-side request
    forgery). Such a request does not have the header `Metadata-Flavor`, or it has one that proxies add. Requests of
    web pages in the developer's browser are refused too.
    """
    reason = web_pages.refusal(request.headers, local_pages=False) or _refusal(request)
    response = await call_next(request) if reason is None else PlainTextResponse(reason, 403)
    response.headers[FLAVOR_HEADER] = FLAVOR
    return response


def _refusal(request: Request) -> str | None:
    path = request.scope["path"]  # Routing uses this path; request.url depends on the Host header.
    if path == CERTIFICATES_PATH:
        return None
    if "X-Forwarded-For" in request.headers:
        return "X-Forwarded-For is not allowed."
    if path != "/" and request.headers.get(FLAVOR_HEADER) != FLAVOR:
        return f"Missing {FLAVOR_HEADER}:{FLAVOR} header."
    return None


def create_app(services: Mapping[int, str], project: str) -> FastAPI:
    """Return one app for the metadata servers of the project's services. `services` maps ports to services."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.metadata = Metadata(services, project)
    app.middleware("http")(answer_as_google)
    app.include_router(routes)
    return app
