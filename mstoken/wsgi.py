"""Verifies calls in WSGI applications (PEP 3333), of any framework and of none. `mstoken.flask` uses it.

product = WsgiVerifier(TokenVerifier("product"))
BILLING = Admission.of(services={"billing"})

try:
    caller = product.caller(environ, BILLING)
except Problem as problem:
    status, headers, body = product.answer(problem)
"""

from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from typing_extensions import override

from mstoken import uri
from mstoken.callee.callers import Admission, Call, Caller
from mstoken.extras import needed_by
from mstoken.in_background import InBackground
from mstoken.wire import PROOF_HEADER, SERVICE_TOKEN_HEADER

with needed_by("mstoken.wsgi", "admin"):
    from mstoken.callee.verification import RequestVerifier
    from mstoken.callee.verifier import TokenVerifier

__all__ = ["Admission", "WsgiVerifier", "call_of", "header_lines"]


class WsgiVerifier(RequestVerifier):
    """Tells who calls a WSGI application, in any of its threads and processes.

    `verifier` is opened at the first call, in a background thread of each process. A second one takes its place, for
    tests.
    """

    def __init__(self, verifier: TokenVerifier) -> None:
        super().__init__(verifier)
        self._running = _in_background(verifier)

    @override
    def replace(self, verifier: TokenVerifier) -> None:
        # In this order, because a request in another thread may open again at once what is closed.
        former, self._running = self._running, _in_background(verifier)
        super().replace(verifier)
        former.close()

    def caller(
        self,
        environ: MutableMapping[str, Any],
        admission: Admission,
        also: Iterable[Admission] = (),
        *,
        prefix: str = "",
    ) -> Caller:
        """Return the caller of a request. A request is verified and spent once, however often this is called.

        `also` are admissions that other parts of the application will ask for: they must admit the caller too, or
        nothing is spent. `prefix` is a part of the path that was removed before the request came here, if the base URL
        of this service does not have it. Raises the `Refusal` that says what is wrong: answer it with `answer`.
        """
        verification = self.verification(environ, call_of(environ, prefix))
        known = verification.known_caller(admission)
        return known or self._running.run(lambda _: verification.caller(admission, also))

    def ready(self) -> list[str]:
        """Check that tokens can be verified now. See `TokenVerifier.ready`."""
        return self._running.run(lambda verifier: verifier.ready())

    def close(self) -> None:
        """End the background work of this process. The next request begins it anew."""
        self._running.close()


def call_of(environ: MutableMapping[str, Any], prefix: str = "") -> Call:
    """Return the call that a WSGI environment is about. `prefix` comes before its path."""
    path = _path(environ)
    return Call(
        method=str(environ["REQUEST_METHOD"]),
        path=prefix if prefix and path == "/" else prefix + path,
        service_tokens=header_lines(environ, SERVICE_TOKEN_HEADER),
        proofs=header_lines(environ, PROOF_HEADER),
        authorizations=header_lines(environ, "Authorization"),
    )


def header_lines(environ: MutableMapping[str, Any], name: str) -> list[str]:
    """Return the values of the header lines `name`, whose valid values contain no comma.

    WSGI joins several lines with a comma, so a comma separates lines.
    """
    value = environ.get(f"HTTP_{name.upper().replace('-', '_')}")
    return [] if value is None else str(value).split(",")


def _path(environ: MutableMapping[str, Any]) -> str:
    """Return the path as it was sent, with its escapes, without that of the application itself (`SCRIPT_NAME`).

    Servers have different names for what was sent. If a server has none, the path gets escapes where they are needed.
    `SCRIPT_NAME` is not removed if it is not a part of what was sent: a proxy has removed it, and says so.
    """
    root, path = str(environ.get("SCRIPT_NAME", "")).rstrip("/"), str(environ.get("PATH_INFO", ""))
    sent = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "").partition("?")[0]
    if not sent:
        return _escaped(path)
    start = _escaped(root)
    is_below = f"{sent}/".startswith(f"{start}/") and unquote_to_bytes(sent) == (root + path).encode("latin-1")
    return sent.removeprefix(start) if is_below else sent


def _escaped(path: str) -> str:
    """Return a path of a WSGI environment, whose characters are bytes (PEP 3333, "Unicode Issues"), with escapes."""
    return uri.escaped(path.encode("latin-1").decode("utf-8", "surrogateescape"))


def _in_background(verifier: TokenVerifier) -> InBackground[TokenVerifier]:
    return InBackground(lambda: verifier, f"mstoken {verifier.audience}")
