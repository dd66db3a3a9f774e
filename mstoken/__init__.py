"""Service identities on Firebase: microservices that call each other with a fresh Firebase ID token.

A caller: `httpx.AsyncClient(auth=ServiceIdentity("billing").to("product"))`.
A callee: `TokenVerifier("product")`, with `mstoken.fastapi`, `mstoken.starlette`, `mstoken.flask` or
`mstoken.functions`, or for any other framework with `mstoken.wsgi` or `mstoken.asgi`.
"""

from typing import TYPE_CHECKING, Any

from mstoken.lazy_exports import lazily

if TYPE_CHECKING:
    from mstoken.callee.callers import Caller, ServiceCaller, UserCaller
    from mstoken.callee.verifier import TokenVerifier
    from mstoken.caller.identity import ServiceIdentity
    from mstoken.settings import Settings

    __version__: str
else:
    _exported = lazily(
        __name__,
        {
            "Caller": "mstoken.callee.callers",
            "ServiceCaller": "mstoken.callee.callers",
            "ServiceIdentity": "mstoken.caller.identity",
            "Settings": "mstoken.settings",
            "TokenVerifier": "mstoken.callee.verifier",
            "UserCaller": "mstoken.callee.callers",
        },
        {"TokenVerifier": "admin"},
    )

    def __getattr__(name: str) -> Any:
        if name != "__version__":
            return _exported(name)
        # Read when it is asked for: deployed functions carry this package without its metadata.
        from importlib.metadata import version

        return version("mstoken")


__all__ = ["Caller", "ServiceCaller", "ServiceIdentity", "Settings", "TokenVerifier", "UserCaller"]
