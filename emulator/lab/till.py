"""The till: a small service that the lab runs to show what a leaked credential is worth. Three of its routes are weak.

Each route makes a bill for the caller that it takes for Billing. The routes differ in the check alone:

    POST /secret/bills   a secret in a header, the same for every call          deliberately weak
    POST /user/bills     the ID token of a user, passed on by Billing           deliberately weak
    POST /plain/bills    the ID token of Billing, verified by firebase-admin    deliberately weak
    POST /fresh/bills    mstoken in fresh mode
    POST /proof/bills    mstoken in proof mode

The weak routes do what people do today, with care: the secret is random and compared in constant time, and the tokens'
signatures are verified. It keeps its bills in memory, listens on 127.0.0.1 only, answers no web page, and ends with the
lab. Never copy the weak routes into a service.
"""

import contextlib
import hmac
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, Request, Response
from starlette.middleware.base import RequestResponseEndpoint
from starlette.responses import JSONResponse

from emulator.run.errors import PortTaken
from emulator.run.ports import HOST
from mstoken import Settings, TokenVerifier
from mstoken.callee.firebase import AdminFirebase
from mstoken.claims import service_uid
from mstoken.emulator import web_pages
from mstoken.emulator.server import PortInUse, listening
from mstoken.errors import UserTokenInvalid
from mstoken.fastapi import allow, protect
from mstoken.strict_jwt import bearer_token, rs256_key_id, unverified
from mstoken.wire import SERVICE_CLAIM, UID_PREFIX

AUDIENCE = "till"
CALLER = "billing"
SECRET_HEADER = "X-Internal-Secret"
GRACE_SECONDS = 2


class WeakSecretWrong(UserTokenInvalid):
    """The secret of the weak route is missing or wrong."""

    code = "secret_wrong"
    title = "The shared secret is missing or wrong"


def create_till(settings: Settings, secret: str) -> FastAPI:
    """Return the app. `settings` are those of a callee, and `secret` is what the weakest route compares with."""
    firebase = AdminFirebase(settings)
    app = FastAPI(openapi_url=None)
    app.state.bills = Counter[str]()
    protect(app, TokenVerifier(AUDIENCE, settings, firebase=firebase))

    def bill(way: str) -> dict[str, Any]:
        app.state.bills[way] += 1
        return {"bill": app.state.bills[way], "way": way}

    async def verified(authorization: str | None) -> dict[str, Any]:
        """Return the claims of an ID token that firebase-admin accepts. That is all that the weak routes check."""
        try:
            token = bearer_token([authorization or ""])
            jwt = unverified(token)
            key_id = rs256_key_id(jwt.header)
        except ValueError as error:
            raise UserTokenInvalid(str(error)) from None
        return await firebase.verify(jwt, key_id)

    @app.post("/secret/bills", status_code=201)
    async def bill_for_the_secret(given: Annotated[str, Header(alias=SECRET_HEADER)] = "") -> dict[str, Any]:
        if not hmac.compare_digest(given.encode(), secret.encode()):
            raise WeakSecretWrong
        return bill("secret")

    @app.post("/user/bills", status_code=201)
    async def bill_for_a_user(authorization: Annotated[str | None, Header()] = None) -> dict[str, Any]:
        if SERVICE_CLAIM in await verified(authorization):
            raise UserTokenInvalid("The token is that of a service.")
        return bill("user")

    @app.post("/plain/bills", status_code=201)
    async def bill_for_a_plain_token(authorization: Annotated[str | None, Header()] = None) -> dict[str, Any]:
        if (await verified(authorization))["sub"] != service_uid(CALLER):
            raise UserTokenInvalid(f"The token is not that of {UID_PREFIX}{CALLER}.")
        return bill("plain")

    for way in "fresh", "proof":
        app.add_api_route(
            f"/{way}/bills",
            _fixed(bill, way),
            methods=["POST"],
            status_code=201,
            dependencies=[Depends(allow(services={CALLER}, proof=way == "proof"))],
        )

    @app.middleware("http")
    async def refuse_web_pages(request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Refuse what any web page sends, and requests under another name (DNS rebinding)."""
        reason = web_pages.refusal(request.headers, local_pages=False)
        if reason is None:
            return await call_next(request)
        return JSONResponse({"code": "web_page_refused", "detail": reason}, 403)

    return app


def _fixed(bill: Callable[[str], dict[str, Any]], way: str) -> Callable[[], dict[str, Any]]:
    return lambda: bill(way)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the records of the library in this process off the terminal: each theft would write ten lines there."""
    handler, log = logging.NullHandler(), logging.getLogger("mstoken")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextlib.contextmanager
def running_till(port: int, settings: Settings, secret: str) -> Iterator[FastAPI]:
    """Serve the till on a port of 127.0.0.1 until the block ends. Raises PortTaken."""
    app = create_till(settings, secret)
    try:
        socket = listening(port)
    except PortInUse as error:
        raise PortTaken(str(error)) from error
    with socket, _quiet():
        config = uvicorn.Config(
            app, host=HOST, http="h11", ws="none", log_level="critical", timeout_graceful_shutdown=GRACE_SECONDS
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([socket],), name="till")
        thread.start()
        try:
            yield app
        finally:
            server.should_exit = True
            thread.join()
