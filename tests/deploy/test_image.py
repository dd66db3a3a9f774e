"""The image of the services without Docker: the steps of its Dockerfile are carried out in a folder.

The folder has the same content as /app in the image, and the environment has the same packages. It belongs to this
user, not to the one that runs the services, if the tests run as root, as in a container. Then a purchase is made.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from emulator.demo.purchase import buy
from emulator.run.catalogue import add_catalogue
from emulator.run.errors import Unexpected
from emulator.run.processes import Supervisor
from emulator.run.stack import SERVICES, Stack
from mstoken.callee.replay.sqlite_file import SpentIdFile
from tests.deploy import files
from tests.deploy.dockerfile import exec_form, stages

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]
USER = 10001
ATTEMPTS = 5
"""A service may answer 503: on a busy machine, its first sign-in takes longer than a call may."""
BECOME = "import os, sys; os.setgroups([]); os.setgid({0}); os.setuid({0}); os.execvp(sys.argv[1], sys.argv[1:])"
"""Makes a process of root another user's, and then the command that follows."""


@dataclass(frozen=True)
class Image:
    """What the Dockerfile describes, below a folder that stands for the root of the file system."""

    root: Path
    entry_point: list[str]
    health_check: list[str]
    variables: dict[str, str]

    @property
    def app(self) -> Path:
        """The folder that is /app in a container."""
        return self.root / "app"

    def command(self, command: list[str]) -> list[str]:
        """Return a command of the image as it can be run here, as the image's user if this process is root."""
        program = shutil.which(command[0], path=self.variables["PATH"])
        assert program is not None
        become = [sys.executable, "-I", "-c", BECOME.format(USER)] if os.geteuid() == 0 else []
        return [*become, program, *command[1:]]

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of a process in the image: what the image sets, and `variables`, and nothing else."""
        return {**self.variables, **variables}


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Carry out COPY and RUN of the Dockerfile's first stage, and take the rest from the second one."""
    root = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        root.chmod(0o755)  # Another user has to get in.
        build, final = stages(files.DEPLOY / "docker/Dockerfile")
        app = root / "app"
        app.mkdir()
        for instruction, arguments in build.steps:
            if instruction == "COPY":
                *sources, target = arguments.split()
                for source in sources:
                    copy(files.ROOT / source, app / target)
            elif instruction == "RUN":
                # In the image a layer would keep pip's cache. Here it saves the download.
                environment = {**os.environ, **build.variables(), "PIP_NO_CACHE_DIR": "0"}
                environment.pop("PYTHONDONTWRITEBYTECODE", None)
                python = f"{base_python(root)}:{environment['PATH']}"
                done = subprocess.run(
                    ["sh", "-ec", arguments],
                    cwd=app,
                    env={**environment, "PATH": python},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, done.stderr[-2000:]
        make_read_only(app)
        variables = {
            name: value.replace("/app", str(app)).replace("$PATH", os.environ["PATH"])
            for name, value in final.variables().items()
        }
        # A copied Python that was built with a shared library looks for it where only this user may look.
        variables["LD_LIBRARY_PATH"] = str(base_python(root).parent / "lib")
        health_check = exec_form(final.last("HEALTHCHECK").partition("CMD ")[2])
        yield Image(root, exec_form(final.last("ENTRYPOINT")), health_check, variables)
    finally:
        for folder in [root, *(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]:
            folder.chmod(0o700)
        shutil.rmtree(root)


def base_python(root: Path) -> Path:
    """Return the folder of the Python that stands for the base image's.

    It is the machine's, or a copy if that is in a folder of this user alone, where the image's user cannot run it.
    """
    base = Path(sys.base_prefix)
    if all(folder.stat().st_mode & stat.S_IXOTH for folder in [base, *base.parents]):
        return base / "bin"
    place = root / "usr/local"
    if not place.exists():
        shutil.copytree(
            base,
            place,
            symlinks=True,
            ignore=shutil.ignore_patterns("test", "site-packages", "__pycache__", "share", "*.a"),
        )
    return place / "bin"


def copy(source: Path, target: Path) -> None:
    """Copy a file, or what the build context has of a folder."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target / source.name if target.is_dir() else target)


def make_read_only(folder: Path) -> None:
    """Take everyone's right to write away from a tree, and let everyone read it."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod((mode | 0o444 | (0o111 if path.is_dir() else 0)) & ~0o222)


@dataclass(frozen=True)
class StackOfImage(Stack):
    """A stack whose services run from the image, with the arguments that the compose file gives them."""

    image: Image | None = None

    def _start_service(self, supervisor: Supervisor, service: str) -> None:
        assert self.image is not None
        command = list(files.compose()["services"][service]["command"])
        command[command.index("--port") + 1] = str(getattr(self.ports, service))
        supervisor.start(
            service,
            self.image.command([*self.image.entry_point, *command]),
            env=self.image.environment(**self._service_environment(service)),
            cwd=self.image.app,
            log=self.log(service),
        )


@pytest.fixture(scope="module")
def shop(emulators: Stack, image: Image) -> Iterator[StackOfImage]:
    """The shop with services from the image, on the ports where the function `deliver` expects Billing."""
    data = image.root / "data"
    data.mkdir()
    stack = StackOfImage(
        emulators.ports, data, project=emulators.project, emulator_host=emulators.auth_host, image=image
    )
    for service in SERVICES:
        SpentIdFile(data / f"{service}-spent.db", wait_seconds=1, clock=lambda: 0.0).create()
    if os.geteuid() == 0:
        for path in [data, *data.iterdir()]:
            os.chown(path, USER, USER)
    supervisor = Supervisor()
    try:
        stack.start_services(supervisor)
        yield stack
    finally:
        supervisor.stop()


def test_the_tree_is_read_only(image: Image) -> None:
    """The user of the image can change no file, and add none."""
    script = "import pathlib; pathlib.Path('services/new.py').write_text('')"
    done = subprocess.run(
        image.command(["python", "-c", script]), cwd=image.app, env=image.environment(), capture_output=True, text=True
    )
    if os.geteuid() == 0:
        assert "PermissionError" in done.stderr or "Read-only" in done.stderr
    assert not (image.app / "services/new.py").exists()
    writable = [path for path in image.app.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o222]
    assert writable == []


def test_the_environment_is_the_locked_one(image: Image) -> None:
    """It has the packages of the lock file, and neither pip nor anything that only tests need."""
    script = (
        "import importlib.metadata as m; print(*sorted(d.name.lower().replace('_', '-') for d in m.distributions()))"
    )
    done = subprocess.run(
        image.command(["python", "-c", script]), cwd=image.root, env=image.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    installed = set(done.stdout.split())
    assert {"fastapi", "uvicorn", "asyncpg", "redis", "firebase-admin", "typer"} <= installed
    assert not {"pip", "pytest", "mypy", "httptools"} & installed


def test_a_purchase(shop: StackOfImage) -> None:
    """A customer buys, and gets the delivery, while the services run as another user from a tree that is read-only."""
    add_catalogue(shop)
    for attempt in range(ATTEMPTS):
        try:
            purchase = buy(shop)
            break
        except Unexpected as refused:
            if "answered with 503" not in str(refused) or attempt == ATTEMPTS - 1:
                raise
    assert purchase.delivery["status"] == "delivered"


def test_the_health_check(shop: StackOfImage, image: Image) -> None:
    """It needs nothing but Python: it succeeds for a service that runs, and fails for a port without one."""

    def status(port: int) -> int:
        done = subprocess.run(
            image.command(image.health_check), cwd=image.app, env=image.environment(PORT=str(port)), capture_output=True
        )
        return done.returncode

    assert status(shop.ports.billing) == 0
    assert status(1) == 1


def test_doctor_runs_in_the_image(image: Image) -> None:
    """An operator checks a service where it runs, with the same packages."""
    done = subprocess.run(
        image.command(["python", "-m", "mstoken", "doctor", "--help"]),
        cwd=image.app,
        env=image.environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "Check the setup of a service" in done.stdout) == (0, True), done.stderr
