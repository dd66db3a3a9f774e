"""docs/guide/existing-services.md, with nothing but the wheel and its extras.

Two services that do not know this library (tests/docs/existing) get the changes of the page. Their environment has the
wheel and what the extras of the quickstart bring, and nothing of this checkout. So a test fails if the wheel does not
declare a package that it needs, or if the page leaves out a step.
"""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path, PurePath

import httpx
import pytest
from hatchling import build
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from emulator.run.ports import HOST, Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import ROOT, SHOP_VARIABLES
from tests.waiting import WAIT_SECONDS

BEFORE = Path(__file__).with_name("existing")
PAGE = (ROOT / "docs/guide/existing-services.md").read_text()
QUICKSTART = (ROOT / "docs/quickstart.md").read_text()
TESTING = (ROOT / "docs/guide/testing.md").read_text()
START_SECONDS = 90.0
SERVICES = ("product", "billing")
NOT_OURS = """
import importlib.util, json, mstoken
names = ("services", "emulator", "tests", "docs", "bench", "hypothesis", "sqlalchemy", "redis", "flask")
print(json.dumps([mstoken.__file__, [name for name in names if importlib.util.find_spec(name)]]))
"""
"""Prints where the library is, and what the environment should not have: the checkout, and what nobody asked for."""


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def command(beginning: str) -> list[str]:
    """Return the words of the command of the page that begins like this."""
    (line,) = re.findall(rf"^{re.escape(beginning)}.*$", PAGE, re.MULTILINE)
    return shlex.split(line)


def changed(text: str, diff: str) -> str:
    """Return the text with the changes of a diff. The context of each change must be in it exactly once."""
    for change in diff.split("@@\n")[1:]:
        lines = change.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        assert text.count(before) == 1, f"This is not in the service, or more than once:\n{before}"
        text = text.replace(before, "".join(line[1:] for line in lines if line[0] != "-"))
    return text


def needed(requirements: Iterable[Requirement], wheel: Distribution) -> set[str]:
    """Return the names of what pip would install for the requirements, without `mstoken` itself."""
    found: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        brings = wheel if name == "mstoken" else distribution(name)
        for extra in {"", *requirement.extras} - {extra for known, extra in found if known == name}:
            found.add((name, extra))
            for text in brings.requires or []:
                further = Requirement(text)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    waiting.append(further)
    return {name for name, _ in found} - {"mstoken"}


def link(name: str, site_packages: Path) -> None:
    """Link a package of this environment into another one. Packages may share folders that belong to none of them."""
    package = distribution(name)
    files = [PurePath(file) for file in package.files or [] if ".." not in file.parts]
    regular = {file.parent for file in files if file.name in ("__init__.py", "METADATA")}
    for file in files:
        top = next((folder for folder in reversed(file.parents) if folder in regular), file)
        target = site_packages / top
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(Path(str(package.locate_file(top))))


@dataclass(frozen=True)
class Installed:
    """A folder with the two services after the changes, and the environment in which they run."""

    folder: Path
    venv: Path

    @property
    def variables(self) -> dict[str, str]:
        """The variables of a shell in which the environment is active: none of this library, of Python or of pytest."""
        foreign = (*SHOP_VARIABLES, "PYTHON", "PYTEST", "COV", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return kept | {"PATH": f"{self.venv / 'bin'}:{os.environ['PATH']}", "CI": "true"}

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the Python of the environment."""
        return subprocess.run(
            [self.venv / "bin/python", *arguments],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Both services after the changes of the page, with what the quickstart and the page about tests install."""
    folder = tmp_path_factory.mktemp("existing")
    venv = folder / "venv"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # as build backends expect (PEP 517)
        wheel = folder / build.build_wheel(str(folder))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    install = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "install", "--quiet"]
    subprocess.run([*install, "--disable-pip-version-check", "--no-index", "--no-deps", str(wheel)], check=True)
    (site_packages,) = venv.glob("lib/python*/site-packages")
    (ours,) = distributions(name="mstoken", path=[str(site_packages)])
    (asked,) = re.findall(r"^pip install (.*)$", QUICKSTART, re.MULTILINE)
    (for_tests,) = re.findall(r'`pip install "(mstoken\[\w+\])"`', TESTING)
    for name in needed([Requirement(text) for text in [*shlex.split(asked), for_tests]], ours):
        link(name, site_packages)
    for service in SERVICES:
        shutil.copytree(BEFORE / service, folder / service, ignore=shutil.ignore_patterns("__pycache__"))
    for diff in blocks(PAGE, "diff"):
        file = folder / diff.splitlines()[0].removeprefix("--- ")
        file.write_text(changed(file.read_text(), diff))
    for test in blocks(PAGE, "python"):
        (folder / test.splitlines()[0].removeprefix("# ")).write_text(test)
    return Installed(folder, venv)


@pytest.mark.process
def test_the_environment_has_the_wheel_and_its_extras_only(installed: Installed) -> None:
    """The library comes from the wheel. Neither the checkout nor any other package can be imported."""
    done = installed.python("-c", NOT_OURS)
    assert done.returncode == 0, done.stderr
    file, others = json.loads(done.stdout)
    assert Path(file).is_relative_to(installed.venv)
    assert others == []


@pytest.mark.process
@pytest.mark.slow
def test_the_services_are_tested_with_the_plugin(installed: Installed) -> None:
    """The tests of the page pass, without an emulator and without variables."""
    done = installed.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_product.py", "test_billing.py")
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.fixture(scope="module")
def urls(installed: Installed) -> Iterator[dict[str, str]]:
    """The addresses of both services, and that of the Auth emulator: all run as the page says, on free ports."""
    ports = Ports.shifted(free_offset())
    (config,) = (json.loads(text) for text in blocks(QUICKSTART, "json"))
    config["emulators"]["auth"]["port"] = ports.auth
    config["emulators"] |= {name: {"port": getattr(ports, name)} for name in ("hub", "logging")}
    (installed.folder / "firebase.json").write_text(json.dumps(config))
    (installed.folder / "node_modules").symlink_to(ROOT / "node_modules")
    supervisor = Supervisor()
    urls = {name: f"http://{HOST}:{getattr(ports, name)}" for name in (*SERVICES, "signed_auth")}
    try:
        emulators = command("mstoken emulator")
        emulators[2:2] = ["--port", str(ports.signed_auth)]
        start(supervisor, installed, "emulators", emulators)
        supervisor.wait_until((installed.folder / ".env.emulator").exists, "mstoken emulator", START_SECONDS)
        own = {f"{name.upper()}_URL": urls[name] for name in SERVICES}
        for name in SERVICES:
            serve = [str(installed.venv / "bin/python"), "-m", *command(f"uvicorn {name}.main:app")]
            serve[serve.index("--port") + 1] = str(getattr(ports, name))
            # Each on a machine of its own, as it were: with a store of spent ids of its own.
            own_store = {"MSTOKEN_REPLAY_URL": f"sqlite:///{installed.folder / name}.db"}
            start(supervisor, installed, name, serve, own | own_store)
        for name in SERVICES:
            supervisor.wait_until(partial(answers, f"{urls[name]}/openapi.json"), name, START_SECONDS)
        yield urls
    finally:
        supervisor.stop()


def start(
    supervisor: Supervisor,
    installed: Installed,
    name: str,
    words: Sequence[str],
    variables: dict[str, str] | None = None,
) -> None:
    executable = shutil.which(words[0], path=installed.variables["PATH"])
    assert executable is not None
    supervisor.start(
        name,
        [executable, *words[1:]],
        env=installed.variables | (variables or {}),
        cwd=installed.folder,
        log=installed.folder / f"{name}.log",
    )


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=WAIT_SECONDS).is_success
    except httpx.TransportError:
        return False


@pytest.mark.process
@pytest.mark.slow
def test_the_services_call_each_other(urls: dict[str, str]) -> None:
    """A customer gets a bill with the price of Product, and Product learns from Billing what was sold.

    The errors of the services are answered as before, and a stranger with the former key is refused.
    """
    accounts = f"{urls['signed_auth']}/identitytoolkit.googleapis.com/v1/accounts:signUp"
    new = {
        "email": f"{secrets.token_hex(4)}@example.com",
        "password": secrets.token_urlsafe(),
        "returnSecureToken": True,
    }
    user = httpx.post(accounts, params={"key": "any"}, json=new, timeout=WAIT_SECONDS).raise_for_status().json()
    customer = {"Authorization": f"Bearer {user['idToken']}"}

    with httpx.Client(base_url=urls["billing"], headers=customer, timeout=30) as client:
        kettle = {"product": "kettle"}
        # A store of spent ids that is new refuses what may have been used before its memory began.
        Supervisor().wait_until(lambda: client.post("/bills", json=kettle).is_success, "the stores", START_SECONDS)
        bill = client.post("/bills", json=kettle)
        assert bill.json() == {
            "customer": f"user:{user['localId']}",
            "product": "kettle",
            "amount": 1999,
            "currency": "USD",
        }
        unknown = client.post("/bills", json={"product": "sofa"})
        assert (unknown.status_code, unknown.json()) == (409, {"error": "There is no sofa."})
    with httpx.Client(headers={"X-API-Key": "the same for everyone"}, timeout=30) as stranger:
        assert stranger.get(f"{urls['product']}/sold/kettle").json() == 2
        refused = stranger.get(f"{urls['product']}/products/kettle/price")
        assert (refused.status_code, refused.json()["code"]) == (401, "token_missing")
        refused = stranger.get(f"{urls['billing']}/bills/count?product=kettle")
        assert (refused.status_code, refused.json()["code"]) == (401, "token_missing")


def test_the_steps_are_on_the_page() -> None:
    """Each service has its changes and a test. A change that does not fit the service is an error."""
    assert [diff.splitlines()[0] for diff in blocks(PAGE, "diff")] == [f"--- {name}/main.py" for name in SERVICES]
    assert [text.splitlines()[0] for text in blocks(PAGE, "python")] == [f"# test_{name}.py" for name in SERVICES]
    with pytest.raises(AssertionError, match="not in the service"):
        changed("a = 1\n", "--- a.py\n@@\n-a = 2\n+a = 3\n")
