"""Settings and networks for tests of what doctor checks."""

from collections.abc import Callable
from typing import Any

import httpx

from mstoken import Settings
from tests.mstoken.test_settings import environment


def production(**settings: Any) -> Settings:
    with environment():
        return Settings(project_id="real-shop", **settings)


def laptop(**settings: Any) -> Settings:
    with environment():
        return Settings(project_id="demo-shop", emulator_host="127.0.0.1:9100", **settings)


def network(answer: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    """Return a client whose requests all get this answer."""

    def answered(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    return httpx.Client(transport=httpx.MockTransport(answered))
