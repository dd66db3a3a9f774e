"""Service identities on Firebase: microservices that call each other with a fresh Firebase ID token.

A caller: `httpx.AsyncClient(auth=ServiceIdentity("billing").to("product"))`.
A callee: `TokenVerifier("product")`, with `mstoken.fastapi` for FastAPI.
"""

import importlib.metadata
from typing import TYPE_CHECKING

from mstoken.callee.callers import Caller, ServiceCaller, UserCaller
from mstoken.callee.verifier import TokenVerifier
from mstoken.caller.identity import ServiceIdentity
from mstoken.settings import Settings

__all__ = ["Caller", "ServiceCaller", "ServiceIdentity", "Settings", "TokenVerifier", "UserCaller"]


__version__: str

if not TYPE_CHECKING:  # A type checker would believe that this module has every attribute.

    def __getattr__(name: str) -> str:
        # Read when it is asked for: deployed functions carry this package without its metadata.
        if name == "__version__":
            return importlib.metadata.version("mstoken")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
