"""Which web pages may send requests to an emulator.

Web pages in the developer's browser can send requests to this machine. A foreign page can send simple requests to any
port without asking first (Fetch standard, "CORS protocol"). And it can give its own name the address 127.0.0.1 (DNS
rebinding). Then the browser takes the emulator for the page's own server, and the page reads the answers as well.

The browser says in three headers what it is doing. `Host` has the name under which it reached the server. `Origin` is
sent with every request that a script makes across origins, and with every request other than GET and HEAD. It is not
sent for a link or an image; then `Sec-Fetch-Site` and `Referer` say which kind of page sent the request. No script can
set these headers (Fetch standard, "forbidden request-header").

Pages at http://localhost, http://127.0.0.1 and http://[::1], on any port, are local. All others are foreign. Programs
such as curl send none of these headers except `Host`.
"""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers

_LOCAL_HOST = r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
_LOCAL_NAME = re.compile(_LOCAL_HOST, re.IGNORECASE)
_LOCAL_ORIGIN = re.compile(f"http://{_LOCAL_HOST}")
_LOCAL_URL = re.compile(f"http://{_LOCAL_HOST}/.*")
_NOT_FROM_A_PAGE = ("none",)
_NOT_FROM_ANOTHER_HOST = ("none", "same-origin", "same-site")
"""Values of `Sec-Fetch-Site` (W3C, Fetch Metadata Request Headers, section 2.3).

"none" is for what a user does, such as typing a URL. "same-site" is another port of the same host.
"""


def refusal(headers: Headers, *, local_pages: bool) -> str | None:
    """Return why a request with these headers must be refused, in one sentence, or None if it may be answered.

    Requests of foreign pages are refused. Requests of local pages are refused unless `local_pages` is true.
    """
    if not _is_one(headers.getlist("Host"), _LOCAL_NAME):
        return "The Host header must be localhost, 127.0.0.1 or [::1], because other names may belong to a web page."
    origins = headers.getlist("Origin")
    sites = headers.getlist("Sec-Fetch-Site")
    if not local_pages:
        if origins or any(site not in _NOT_FROM_A_PAGE for site in sites):
            return "Web pages may not send this request. Send it from a program, without Origin and Sec-Fetch-Site."
        return None
    if origins:
        is_local = _is_one(origins, _LOCAL_ORIGIN)
    elif all(site in _NOT_FROM_ANOTHER_HOST for site in sites):
        is_local = True
    else:
        is_local = _is_one(headers.getlist("Referer"), _LOCAL_URL)
    if is_local:
        return None
    return "Only web pages at http://localhost, http://127.0.0.1 or http://[::1] may send requests to this emulator."


def _is_one(lines: Sequence[str], pattern: re.Pattern[str]) -> bool:
    """Return whether a header has exactly one line, and its value matches."""
    return len(lines) == 1 and pattern.fullmatch(lines[0]) is not None
