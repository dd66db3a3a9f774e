"""The routes of User."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel

from mstoken import Caller
from mstoken.fastapi import REFUSALS, allow
from services.common.callers import SignedInUser
from services.common.problems import documented
from services.user.accounts import Accounts
from services.user.errors import (
    AccountRefused,
    CredentialsInvalid,
    EmailTaken,
    FirebaseUnavailable,
    RefreshTokenInvalid,
    TooManyAttempts,
    UserNotFound,
)
from services.user.networks import client_network
from services.user.profiles import Profiles
from services.user.schemas import Customer, LogIn, ProfileChanges, ProfileShape, Refresh, SessionShape, SignUp

Uid = Annotated[str, Path(pattern="^[A-Za-z0-9:._@-]{1,128}$")]


def add_routes(routes: APIRouter, *, accounts: Accounts, profiles: Profiles, trusted_proxies: int = 0) -> None:
    """Add the routes for these accounts and profiles. Each request passes `trusted_proxies` proxies of ours."""
    _add_account_routes(routes, accounts, trusted_proxies)
    _add_profile_routes(routes, profiles)


def _add_account_routes(routes: APIRouter, accounts: Accounts, trusted_proxies: int) -> None:
    async def network(request: Request) -> str:
        peer = request.client.host if request.client else ""
        return client_network(peer, request.headers.getlist("X-Forwarded-For"), trusted_proxies)

    Network = Annotated[str, Depends(network)]  # noqa: N806 - a type

    @routes.post(
        "/signup",
        status_code=201,
        tags=["accounts"],
        responses=documented(EmailTaken, AccountRefused, TooManyAttempts, FirebaseUnavailable, body=True),
    )
    async def sign_up(body: SignUp, network: Network, response: Response) -> SessionShape:
        """Create an account, and log in. After too many sign-ups a network has to wait."""
        session = await accounts.sign_up(body.email, body.password.get_secret_value(), body.display_name, network)
        return _not_cached(SessionShape.model_validate(session), response)

    @routes.post(
        "/login",
        tags=["accounts"],
        responses=documented(CredentialsInvalid, TooManyAttempts, FirebaseUnavailable, body=True),
    )
    async def log_in(body: LogIn, network: Network, response: Response) -> SessionShape:
        """Log in. After too many failures the next attempt has to wait, longer each time."""
        session = await accounts.log_in(body.email, body.password.get_secret_value(), network)
        return _not_cached(SessionShape.model_validate(session), response)

    @routes.post(
        "/token/refresh",
        tags=["accounts"],
        responses=documented(RefreshTokenInvalid, TooManyAttempts, FirebaseUnavailable, body=True),
    )
    async def refresh_token(body: Refresh, network: Network, response: Response) -> SessionShape:
        """Get a new ID token for a session. After too many refreshes a session, or a network, has to wait."""
        session = await accounts.refresh(body.refresh_token.get_secret_value(), network)
        return _not_cached(SessionShape.model_validate(session), response)

    @routes.post(
        "/logout",
        status_code=204,
        tags=["accounts"],
        responses=REFUSALS | documented(FirebaseUnavailable),
    )
    async def log_out(caller: SignedInUser) -> None:
        """End every session of the caller. The answer takes up to a second."""
        await accounts.log_out(caller)


def _add_profile_routes(routes: APIRouter, profiles: Profiles) -> None:
    @routes.get("/profile", tags=["profile"], responses=REFUSALS | documented())
    async def get_profile(caller: SignedInUser) -> ProfileShape:
        """Get the caller's profile."""
        return ProfileShape.model_validate(await profiles.of_caller(caller))

    @routes.patch("/profile", tags=["profile"], responses=REFUSALS | documented(body=True))
    async def change_profile(changes: ProfileChanges, caller: SignedInUser) -> ProfileShape:
        """Change the fields of the caller's profile that are sent."""
        fields = {
            name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in changes.items()
        }
        return ProfileShape.model_validate(await profiles.change(caller, fields))

    @routes.get("/users/{uid}", tags=["for services"], responses=REFUSALS | documented(UserNotFound))
    async def get_user(uid: Uid, _caller: Annotated[Caller, Depends(allow(services={"billing"}))]) -> Customer:
        """Get the name and address of a user, for a bill."""
        return Customer.model_validate(await profiles.of(uid))


def _not_cached(session: SessionShape, response: Response) -> SessionShape:
    """Keep an answer with tokens out of caches (RFC 6749, section 5.1)."""
    response.headers["Cache-Control"] = "no-store"
    return session
