"""What stands around every app: a name and a log line for each request, an end to bodies without one."""

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars, get_contextvars

from services.common.errors import InternalError
from services.common.problems import response_to

REQUEST_ID_HEADER = "X-Request-ID"
MAX_BODY_BYTES = 64 * 1024

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_requests = logging.getLogger("services.requests")


def current_request_id() -> str | None:
    """The id of the request that is being answered, for the calls that it leads to."""
    value = get_contextvars().get("request_id")
    return value if isinstance(value, str) else None


class RequestLog:
    """Gives each request an id (the caller's own where it is sane), logs it, and answers defects with a bare 500.

    The line has method, path, status and duration; no query, no header and no body, which may hold secrets.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI, "Applications"."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = sent if _SANE_ID.fullmatch(sent) else secrets.token_hex(8)
        status: int | None = None

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        began = time.perf_counter()
        with bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_named)
            except Exception:
                _requests.exception("defect")
                if status is not None:
                    raise
                await response_to(InternalError())(scope, receive, send_named)
            finally:
                _requests.info(
                    "request",
                    extra={
                        "method": scope["method"],
                        "path": scope["path"],
                        "status": status,
                        "duration_ms": round((time.perf_counter() - began) * 1000, 1),
                    },
                )


class BodyLimit:
    """Refuses a body of more than `MAX_BODY_BYTES` with 413, by its announced length or once that much has come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI, "Applications"."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("Content-Length", "0")
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            # Raised where the body is read: inside the app, which answers it as it answers every problem.
            if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
                raise HTTPException(413)
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise HTTPException(413)
            return message

        await self._app(scope, receive_within_limit, send)
