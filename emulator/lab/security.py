"""What keeps the lab on this machine, and other web pages out of it.

The lab stops processes and sends forged calls, so a web page that the developer happens to visit must not reach it. A
foreign page can send a simple POST to any port (Fetch standard, "CORS protocol"), and it can give its own name the
address 127.0.0.1 (DNS rebinding). So `Host` must be an address of the lab, and a request that changes something must
come from a page of the lab, by its `Origin`. No script can set these headers (Fetch standard, "forbidden
request-header").
"""

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emulator.run.errors import RunnerError
from emulator.run.stack import Stack
from mstoken.settings import AUTH_EMULATOR_VARIABLE

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DEMO_PREFIX = "demo-"
"""The beginning of project ids that exist in emulators only (Firebase, "Demo Firebase projects")."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""Scripts and styles come from files of the lab. Nothing is inline, and nothing comes from another server."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LabRefused(RunnerError):
    """The lab does not start, because this is not a shop on emulators."""


def check_emulator(stack: Stack, environment: Mapping[str, str]) -> None:
    """Raise LabRefused unless the stack is a demo project, and this process uses its Auth emulator."""
    if not stack.project.startswith(DEMO_PREFIX):
        raise LabRefused(
            f"The lab does not start for the project {stack.project}: the id of a project of the emulators begins with"
            f" {DEMO_PREFIX}."
        )
    if environment.get(AUTH_EMULATOR_VARIABLE) != stack.auth_host:
        raise LabRefused(
            f"The lab does not start without the emulator: {AUTH_EMULATOR_VARIABLE} must be {stack.auth_host}."
        )


class LocalPagesOnly:
    """Refuses requests that do not come from the lab's own pages, and adds the headers of `HEADERS` to answers."""

    def __init__(self, app: ASGIApp, *, port: int) -> None:
        """`port` is the one that the lab listens on."""
        self._app = app
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI, "Applications")."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        reason = self._refusal(scope["method"], Headers(scope=scope))
        if reason is None:
            await self._app(scope, receive, send_with_headers)
        else:
            await PlainTextResponse(f"{reason}\n", 403)(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> str | None:
        """Return why a request must be refused, in one sentence, or None if it may be answered."""
        hosts = headers.getlist("Host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return "The Host header must be an address of the lab, because other names may belong to a web page."
        if method in SAFE_METHODS:
            return None
        if headers.getlist("Origin") != [f"http://{hosts[0].lower()}"]:
            return "Only pages of the lab may send this request: its Origin must be the lab's own address."
        return None
