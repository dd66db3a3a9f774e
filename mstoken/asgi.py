"""Verifies calls in ASGI applications, of any framework and of none. `mstoken.starlette` and `mstoken.fastapi` use it.

product = AsgiVerifier(TokenVerifier("product"))
BILLING = Admission.of(services={"billing"})

try:
    caller = await product.caller(scope, BILLING)
except Problem as problem:
    status, headers, body = product.answer(problem)
"""

from collections.abc import Iterable, MutableMapping
from typing import Any

from mstoken import uri
from mstoken.callee.callers import Admission, Call, Caller
from mstoken.extras import needed_by
from mstoken.wire import PROOF_HEADER, SERVICE_TOKEN_HEADER

with needed_by("mstoken.asgi", "admin"):
    from mstoken.callee.verification import RequestVerifier

__all__ = ["Admission", "AsgiVerifier", "call_of"]

_SERVICE_TOKEN, _PROOF, _AUTHORIZATION = (
    name.lower().encode("latin-1") for name in (SERVICE_TOKEN_HEADER, PROOF_HEADER, "Authorization")
)
"""The header fields that a call is read from. ASGI passes names on in lower case."""


class AsgiVerifier(RequestVerifier):
    """Tells who calls an ASGI application.

    The verifier fetches what it needs at the first call. Open and close it with the application if it has a lifespan
    (`TokenVerifier.open`, `aclose`): then it also refreshes that in the background.
    """

    async def caller(
        self, scope: MutableMapping[str, Any], admission: Admission, also: Iterable[Admission] = ()
    ) -> Caller:
        """Return the caller of a request, or of a handshake of a WebSocket.

        It is verified and spent once, however often this is called. `also` are admissions that other parts of the
        application will ask for: they must admit the caller too, or nothing is spent. Raises the `Refusal` that says
        what is wrong: answer it with `answer`.
        """
        return await self.verification(scope, call_of(scope)).caller(admission, also)


def call_of(scope: MutableMapping[str, Any]) -> Call:
    """Return the call that a connection scope is about.

    Source: ASGI, "HTTP Connection Scope" and "Websocket Connection Scope".
    """
    lines: dict[bytes, list[str]] = {_SERVICE_TOKEN: [], _PROOF: [], _AUTHORIZATION: []}
    for name, value in scope["headers"]:
        if name in lines:
            lines[name].append(value.decode("latin-1"))
    # The handshake of a WebSocket is a GET (RFC 6455, section 4.1). Its scope does not say so.
    method = scope.get("method", "GET")
    return Call(method, _path(scope), lines[_SERVICE_TOKEN], lines[_PROOF], lines[_AUTHORIZATION])


def _path(scope: MutableMapping[str, Any]) -> str:
    """Return the path as it was sent, without the root path of the server, which a proxy may have added.

    A server need not tell how the path was sent. Then it has escapes where they are needed.

    Source: ASGI, "HTTP Connection Scope", `raw_path` and `root_path`.
    """
    raw: bytes | None = scope.get("raw_path")
    sent = raw.decode("latin-1") if raw else uri.escaped(scope["path"])
    # If an app is mounted in another one, Starlette keeps the root path of the server in app_root_path.
    root = uri.escaped(scope.get("app_root_path", scope.get("root_path", "")).rstrip("/"))
    return sent.removeprefix(root) if sent.startswith(f"{root}/") else sent
