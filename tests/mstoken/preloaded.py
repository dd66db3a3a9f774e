"""A service whose module makes and uses everything while it is imported, before `gunicorn --preload` forks workers.

Its settings are in the environment, and a token for its first call in PRELOADED_TOKEN.
"""

import asyncio
import hashlib
import os
from typing import Annotated

from fastapi import Depends, FastAPI

from mstoken import ServiceIdentity, Settings, TokenVerifier
from mstoken.callee.callers import Admission, Call, Caller
from mstoken.fastapi import allow, protect
from mstoken.testing import FakeFirebase
from tests.mstoken.production import KnownIdentities

PRELOADED_TOKEN = "PRELOADED_TOKEN"

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
async def list_products(_caller: Annotated[Caller, Depends(allow(services={"billing"}))]) -> int:
    """Return the number of this process."""
    return os.getpid()


@app.get("/tokens")
def tokens() -> dict[str, str | int]:
    """Return what identifies the tokens of this process: the fresh one of this call, and the bound one."""
    named = {mode: identity.token_sync("billing", mode) for mode in ("fresh", "proof")}
    return {"process": os.getpid()} | {mode: hashlib.sha256(t.encode()).hexdigest() for mode, t in named.items()}
