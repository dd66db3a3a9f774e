"""A proxy that passes nothing on, and keeps a list of what it was asked for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product

from typing_extensions import override

VARIABLES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "ws_proxy"),
    *("npm_config_proxy", "npm_config_https_proxy", "GLOBAL_AGENT_HTTP_PROXY"),
)
"""The variables from which HTTP clients for Python and for Node.js read the address of a proxy."""


class RecordingProxy(ThreadingHTTPServer):
    """A proxy on a free port. `requests` are the request lines that it got; it answers each with 502."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        """The address of the proxy, as a variable has it."""
        return f"http://127.0.0.1:{self.server_port}"

    def variables(self, *names: str) -> dict[str, str]:
        """Return variables that name this proxy: those in `names`, or all that there are. Node needs a switch too."""
        return {"NODE_USE_ENV_PROXY": "1"} | dict(product(names or VARIABLES, [self.url]))


class _Handler(BaseHTTPRequestHandler):
    server: RecordingProxy

    def __getattr__(self, name: str) -> object:
        """Serve every method in the same way: http.server calls `do_CONNECT`, `do_GET` and so on."""
        if name.startswith("do_"):
            return self._record
        raise AttributeError(name)

    def _record(self) -> None:
        self.server.requests.append(self.requestline)
        self.send_error(502, "This proxy passes nothing on")

    @override
    def log_message(self, format: str, *arguments: object) -> None:
        """Write nothing to stderr."""


@contextmanager
def recording_proxy() -> Iterator[RecordingProxy]:
    """Run a proxy until the end of the block."""
    with RecordingProxy() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
