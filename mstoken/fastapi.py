"""The adapter for FastAPI. One dependency says who may call a route. Refusals are answered as problem details.

app = FastAPI()
protect(app, TokenVerifier("product"))

@app.get("/products")
async def list_products(caller: Annotated[Caller, Depends(allow(users=True, services={"billing"}))]): ...
"""

from collections.abc import Awaitable, Callable, Collection
from copy import deepcopy
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict

from mstoken.callee.callers import Admission, Caller
from mstoken.extras import needed_by
from mstoken.problem import PROBLEM_MEDIA_TYPE
from mstoken.wire import SERVICE_TOKEN_HEADER

with needed_by("mstoken.fastapi", "fastapi"):
    from fastapi import Security
    from fastapi.openapi.models import APIKey, APIKeyIn
    from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
    from fastapi.openapi.models import SecurityBase as SecurityModel
    from fastapi.security.base import SecurityBase
    from starlette.requests import HTTPConnection

    from mstoken.guard import Allow
    from mstoken.starlette import problem_response, protect

__all__ = ["REFUSALS", "ProblemDetails", "allow", "documented_problem", "problem_response", "protect"]


class ProblemDetails(BaseModel):
    """Problem details (RFC 9457, section 3.1), with a stable `code`."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str | None = None


@cache
def _problem_schema() -> dict[str, Any]:
    """The JSON schema of `ProblemDetails`. It takes long to make, and an app has dozens of routes that announce it."""
    return ProblemDetails.model_json_schema()


def documented_problem(description: str) -> dict[str, Any]:
    """Return an entry for the `responses` of a route, for an answer with problem details.

    The entry contains the schema, because FastAPI documents a `model` as `application/json` too.
    """
    return {"description": description, "content": {PROBLEM_MEDIA_TYPE: {"schema": deepcopy(_problem_schema())}}}


REFUSALS: dict[int | str, dict[str, Any]] = {
    401: documented_problem("The token is missing, not valid, expired, or was used before."),
    403: documented_problem("The token is valid, but this caller may not make this call."),
    503: documented_problem("Tokens cannot be verified now. Try again after `Retry-After` seconds."),
}
"""The refusals of a route with `allow`, for its `responses`."""


class _Scheme(SecurityBase):
    """A security scheme for the OpenAPI document. It reads no header: the verifier does that."""

    def __init__(self, name: str, model: SecurityModel) -> None:
        self.scheme_name = name
        self.model = model

    async def __call__(self) -> None:
        """Do nothing. FastAPI's own schemes expect a request, which a WebSocket is not."""


_SERVICE_TOKEN = _Scheme(
    "ServiceToken",
    APIKey.model_validate(
        {
            "in": APIKeyIn.header,
            "name": SERVICE_TOKEN_HEADER,
            "description": "A Firebase ID token of a service identity, made for this service. It is either valid for "
            "one call, or bound to a key; then each call also needs a new proof of that key in the header `DPoP` "
            "(RFC 9449).",
        }
    ),
)
_USER_TOKEN = _Scheme(
    "UserToken", HTTPBearerModel(bearerFormat="JWT", description="A Firebase ID token of a signed-in user.")
)


# FastAPI documents a dependency that is a security scheme. A second scheme must be a dependency of its own, which takes
# time in each request.


class _AllowUsers(Allow, SecurityBase):
    scheme_name = _USER_TOKEN.scheme_name
    model = _USER_TOKEN.model

    async def __call__(self, connection: HTTPConnection) -> Caller:
        return await self.caller(connection)


class _AllowServices(Allow, SecurityBase):
    scheme_name = _SERVICE_TOKEN.scheme_name
    model = _SERVICE_TOKEN.model

    async def __call__(self, connection: HTTPConnection) -> Caller:
        return await self.caller(connection)


class _AllowBoth(Allow, SecurityBase):
    scheme_name = _USER_TOKEN.scheme_name
    model = _USER_TOKEN.model

    async def __call__(self, connection: HTTPConnection, _service: Annotated[None, Security(_SERVICE_TOKEN)]) -> Caller:
        return await self.caller(connection)


def allow(
    *,
    users: bool | Collection[str] = False,
    services: Collection[str] = (),
    proof: bool = False,
    acting_for_user: bool = False,
) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that verifies a call and returns its `Caller`, or refuses the call.

    `users` is True to admit every signed-in user, or the set of roles (custom claim `role`) to admit. `services` are
    the names of the services to admit. With `proof` they must send a proof with each call, even if this service does
    not require proofs elsewhere. With `acting_for_user` they may send the token of a user in `Authorization` beside
    their own; then the caller's `user` is that user, whose token must be valid. Without it, `Authorization` beside a
    service token is not looked at.

    The dependency is for HTTP and WebSocket routes, routers and apps. A call is verified and spent once, however many
    of them it passes. All of them must admit the caller, or nothing is spent. The call is verified before the path, the
    query and the body are looked at: without a valid token, a wrong body is a 401. Two results of `allow` with the same
    arguments are equal.

    Raises ValueError when the route is made, if no caller could ever be admitted.
    """
    admission = Admission.of(users, services, proof=proof, acting_for_user=acting_for_user)
    if not admission.services:
        return _AllowUsers(admission)
    return _AllowBoth(admission) if admission.users else _AllowServices(admission)
