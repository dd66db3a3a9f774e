"""A service whose module makes and uses everything while it is imported, before `gunicorn --preload` forks workers.

Its settings are in the environment, and a token for its first call in PRELOADED_TOKEN.
"""

import asyncio
import os
from typing import Annotated

from fastapi import Depends, FastAPI
from flask import Flask

import mstoken.flask
from mstoken import ServiceIdentity, Settings, TokenVerifier
from mstoken.callee.callers import Admission, Call, Caller
from mstoken.claims import log_name
from mstoken.fastapi import allow, protect
from mstoken.testing import FakeFirebase
from tests.mstoken.production import PRELOADED_TOKEN, KnownIdentities

firebase = FakeFirebase()
identity: ServiceIdentity = firebase.identity("product")
verifier = TokenVerifier("product", firebase=KnownIdentities(Settings()))


async def use_the_verifier() -> None:
    """Verify and spend a token, and leave the verifier open."""
    await verifier.open()
    call = Call("GET", "/products", [os.environ[PRELOADED_TOKEN]], proofs=[], authorizations=[])
    await verifier.authorize(Admission.of(False, {"billing"}), call)


asyncio.run(use_the_verifier())
identity.token_sync("billing")
identity.token_sync("billing", "proof")

app = FastAPI()
protect(app, verifier)


@app.get("/products")
async def list_products(_caller: Annotated[Caller, Depends(allow(services={"billing"}))]) -> dict[str, int]:
    """Return the number of this process."""
    return {"process": os.getpid()}


@app.get("/tokens")
def tokens() -> dict[str, str | int]:
    """Return the number of this process, and what identifies its next fresh token and its bound token."""
    fresh, bound = identity.token_sync("billing", "fresh", new=True), identity.token_sync("billing", "proof")
    return {"process": os.getpid(), "fresh": log_name(fresh), "proof": log_name(bound)}


flask_app = Flask(__name__)
mstoken.flask.protect(flask_app, verifier)


@flask_app.get("/products")
@mstoken.flask.allow(services={"billing"})
def products(caller: Caller) -> dict[str, int]:
    """Return the number of this process."""
    return {"process": os.getpid()}


flask_app.get("/tokens")(tokens)
