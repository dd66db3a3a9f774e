"""Service identities on Firebase: microservices that call each other with a fresh Firebase ID token.

A caller: `httpx.AsyncClient(auth=ServiceIdentity("billing").to("product"))`.
A callee: `TokenVerifier("product")`, with `mstoken.fastapi` for FastAPI.
"""

from mstoken.callee.callers import Caller, ServiceCaller, UserCaller
from mstoken.callee.verifier import TokenVerifier
from mstoken.caller.identity import ServiceIdentity
from mstoken.settings import Settings

__all__ = ["Caller", "ServiceCaller", "ServiceIdentity", "Settings", "TokenVerifier", "UserCaller"]
