"""Middleware around every app.

It gives each request an id and a log line, answers a defect with a bare 500, and knows the path of a front end.
"""

import asyncio
import logging
import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mstoken.log_events import log_event
from services.common import logs
from services.common.errors import InternalError, Stopping
from services.common.problems import response_to

REQUEST_ID_HEADER = "X-Request-ID"

_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()

_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger("services.requests")


def current_request_id() -> str | None:
    """Return the id of the request that is being answered, to send with calls that it leads to; None outside one."""
    return logs.request_id.get()


def header(scope: Scope, name: bytes) -> str:
    """Return the first value of a header field of a request, or an empty text. `name` is in lower case, as in ASGI."""
    return next((value.decode("latin-1") for found, value in scope["headers"] if found == name), "")


class RequestLog:
    """Gives each request an id (the caller's if it is valid), logs it, and answers a defect with a bare 500.

    The log line has method, path, status and duration in milliseconds. It has no query, header or body, because they
    may contain secrets.

    Kept by hand because libraries do worse: asgi-correlation-id adds no id to the answer to a defect and logs nothing,
    and uvicorn's access log has the query and no id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI, "Applications")."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent_id = header(scope, _REQUEST_ID)
        request_id = sent_id if _VALID_ID.fullmatch(sent_id) else secrets.token_hex(8)
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (_REQUEST_ID, request_id.encode())]
            await send(message)

        started_at = time.perf_counter()
        token = logs.request_id.set(request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            # uvicorn cancels what is not answered when its time to stop is over. It would answer 500 itself.
            if status is not None:
                raise
            await response_to(Stopping())(scope, receive, send_with_id)
        except Exception as error:
            message = f"a defect: {scope['method']} {scope['path']} raised {type(error).__name__}"
            log_event(_log, logging.ERROR, "defect", message, exc_info=error)
            if status is not None:
                raise
            await response_to(InternalError())(scope, receive, send_with_id)
        finally:
            duration_ms = round((time.perf_counter() - started_at) * 1000, 1)
            log_event(
                _log,
                logging.INFO,
                "request",
                f"{scope['method']} {scope['path']} {status or 'without an answer'} in {duration_ms} ms",
                method=scope["method"],
                path=scope["path"],
                status=status,
                duration_ms=duration_ms,
            )
            logs.request_id.reset(token)


class RootPath:
    """Serves the routes below `root_path` as well, where a front end such as Firebase Hosting offers them.

    Routes without this beginning work too: for probes, and for calls of other services.

    Kept by hand because uvicorn's `--root-path` is for front ends that remove the beginning of the path. Hosting passes
    it on.

    Source: ASGI, "HTTP Connection Scope": `path` includes `root_path`.
    """

    def __init__(self, app: ASGIApp, *, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI, "Applications")."""
        if scope["type"] == "http" and self._root_path and scope["path"].startswith(f"{self._root_path}/"):
            scope = {**scope, "root_path": self._root_path}
        await self._app(scope, receive, send)
