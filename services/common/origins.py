"""Which web pages may call a service from another origin (CORS).

A browser lets a page read the answers of another origin only if they name the page's origin, and asks with a preflight
request before it sends what a form could not send. Programs need none of this, and CORS does not restrict them: the
tokens do.

The pages of a storefront that is served from the same origin as the services (`ROOT_PATH`) need no CORS.

Source: WHATWG, "Fetch", section 3.3, "CORS protocol".
"""

import re
from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

METHODS = ("GET", "POST", "PATCH", "DELETE")
"""The methods of the services' routes."""

REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key")
"""The headers that a page may send, with those that every page may send (Fetch, "CORS-safelisted request-header").

`X-MS-TOKEN` and `DPoP` must not be among them: a page has no service token, and must not be able to try one. Nor is
`traceparent`: a page would decide which requests are traced, for spans that it does not export (docs/telemetry.md).
"""

ANSWER_HEADERS = ("Retry-After", "X-Request-ID")
"""The headers of an answer that a page may read, with those of Fetch, "CORS-safelisted response-header name"."""

PREFLIGHT_SECONDS = 7200
"""How long a browser may remember the answer to a preflight request, in seconds. Chromium remembers no longer."""

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(
    rf"https://{_LABEL}(\.{_LABEL})*(:(?!443$)[1-9][0-9]{{0,4}})?"
    r"|http://(localhost|127\.0\.0\.1|\[::1\])(:(?!80$)[1-9][0-9]{0,4})?"
)


def is_origin(text: str) -> bool:
    """Return whether a text is an origin that may be allowed, written as browsers send it (RFC 6454, section 6.2).

    http is for this machine only: elsewhere, anyone on the way could answer as the page.
    """
    return _ORIGIN.fullmatch(text) is not None


def allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """Let the pages of exactly these origins call the app. Add it last: every answer must have the headers.

    So an error of another middleware, such as 413 or 503, can be read by the page as well. A preflight request is
    answered at once: it needs no token, is not logged and takes no place of the load limit. Cookies and other
    credentials of the browser are not allowed.
    """
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
            max_age=PREFLIGHT_SECONDS,
        )
