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
from services.user.profiles import Profiles
from services.user.schemas import Customer, LogIn, ProfileChanges, ProfileShape, Refresh, SessionShape, SignUp

Uid = Annotated[str, Path(pattern="^[A-Za-z0-9:._@-]{1,128}$")]


def router(accounts: Accounts, profiles: Profiles) -> APIRouter:
    """Return the routes for these accounts and profiles."""
    routes = APIRouter()
    _add_account_routes(routes, accounts)
    _add_profile_routes(routes, profiles)
    return routes


def _add_account_routes(routes: APIRouter, accounts: Accounts) -> None:
    @routes.post(
        "/signup",
        status_code=201,
        tags=["accounts"],
        responses=documented(EmailTaken, AccountRefused, TooManyAttempts, FirebaseUnavailable, body=True),
    )
    async def sign_up(body: SignUp, response: Response) -> SessionShape:
        """Create an account, and log in."""
        session = await accounts.sign_up(body.email, body.password.get_secret_value(), body.display_name)
        return _not_cached(SessionShape.model_validate(session), response)

    @routes.post(
        "/login",
        tags=["accounts"],
        responses=documented(CredentialsInvalid, TooManyAttempts, FirebaseUnavailable, body=True),
    )
    async def log_in(body: LogIn, request: Request, response: Response) -> SessionShape:
        """Log in. After too many failures an account, or a network address, has to wait for up to 15 minutes."""
        address = request.client.host if request.client else ""
        session = await accounts.log_in(body.email, body.password.get_secret_value(), address)
        return _not_cached(SessionShape.model_validate(session), response)

    @routes.post(
        "/token/refresh",
        tags=["accounts"],
        responses=documented(RefreshTokenInvalid, FirebaseUnavailable, body=True),
    )
    async def refresh_token(body: Refresh, response: Response) -> SessionShape:
        """Get a new ID token for a session."""
        session = await accounts.refresh(body.refresh_token.get_secret_value())
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
