"""Every Python sample on the pages of docs/ runs.

The samples of a page run one after another in one namespace, with the variables of the quickstart. There is no network:
a stand-in answers for the Auth emulator and for the service Product. A sample whose first line is a comment with a file
name, such as `# shop.py`, is a module of that name. If it is a test, its tests run.
"""

import asyncio
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from docs.site import build
from emulator.run.stack import ROOT
from mstoken.claims import ServiceClaims
from mstoken.strict_jwt import unverified
from mstoken.testing import FakeFirebase, FirebaseProject
from tests.mstoken.test_settings import environment
from tests.recorded import not_set_up

RUN_ELSEWHERE = {
    "quickstart.md",  # Its samples are those of the README, which tests/test_readme.py runs with the emulators.
    "guide/recipes.md",  # It has a test of its own, and so has the next one.
    "guide/existing-services.md",
}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE_NAME = re.compile(r"# (\w+)\.py\n")


def samples(page: str) -> list[str]:
    return BLOCK.findall((build.DOCS / page).read_text())


PAGES = [str(page) for page in build.page_files() if samples(str(page)) and str(page) not in RUN_ELSEWHERE]


class StandIn:
    """Answers for the Auth emulator, and for Product, which accepts each call with a token for it."""

    def __init__(self) -> None:
        self._firebase = FakeFirebase("demo-shop")

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("accounts:signInWithCustomToken"):
            custom = unverified(httpx.Response(200, content=request.content).json()["token"]).payload
            token = self._firebase.issue(custom["uid"], provider="custom", **custom["claims"])
            return httpx.Response(200, json={"idToken": token})
        claims = ServiceClaims.parse(unverified(request.headers["X-MS-TOKEN"]).payload)
        assert claims.audience == request.url.host
        assert (claims.mode == "proof") == ("DPoP" in request.headers)
        return httpx.Response(200, json=["a teapot"])


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of the quickstart, in a folder of its own, with the stand-in for the network."""
    stand_in = StandIn()

    async def answer(_transport: object, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return stand_in.answer(request)

    def answer_sync(_transport: object, request: httpx.Request) -> httpx.Response:
        request.read()
        return stand_in.answer(request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer_sync)
    monkeypatch.chdir(tmp_path)
    variables = {"GOOGLE_CLOUD_PROJECT": "demo-shop", "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9100"}
    # A sample sets up OpenTelemetry, which a program does once.
    with environment(**variables, PRODUCT_URL="http://product"), not_set_up():
        yield


@pytest.mark.parametrize("page", PAGES)
def test_the_samples_of_a_page_run(page: str, offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No sample raises an error, and each test in one passes."""
    namespace: dict[str, Any] = {"__name__": "page"}
    for sample in samples(page):
        if named := FILE_NAME.match(sample):
            module = ModuleType(named[1])
            monkeypatch.setitem(sys.modules, named[1], module)
            run(sample, vars(module))
            for name, function in list(vars(module).items()):
                if name.startswith("test_"):
                    run_test(function)
        else:
            run(sample, namespace)
    if identity := namespace.get("identity"):
        identity.close()


def run_test(function: Callable[..., Any]) -> None:
    """Run a test as pytest does, with the fixtures of our plugin."""
    project = FirebaseProject()
    fixtures = {"firebase": project, "as_user": project.as_user, "as_service": project.as_service}
    result = function(**{name: fixtures[name] for name in inspect.signature(function).parameters})
    if inspect.iscoroutine(result):
        asyncio.run(result)
    project.release()


def run(sample: str, namespace: dict[str, Any]) -> None:
    exec(compile(sample, "sample", "exec"), namespace)


def test_there_are_samples() -> None:
    """A page whose samples were not found would pass in silence."""
    assert {
        "guide/callee.md",
        "guide/caller.md",
        "guide/frameworks.md",
        "guide/testing.md",
        "choosing-a-mode.md",
    } <= set(PAGES)


def test_the_quickstart_has_the_samples_of_the_readme() -> None:
    """These are the samples that run with the emulators, as the quickstart says."""
    readme = BLOCK.findall((ROOT / "README.md").read_text())
    assert [sample for sample in samples("quickstart.md") if sample not in readme] == []
