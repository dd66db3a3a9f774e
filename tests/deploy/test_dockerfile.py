"""deploy/docker: what the Dockerfiles say. tests/deploy/test_image.py carries out the steps of the first one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.images import BASE
from emulator.run.stack import HTTP_PROTOCOL, STOP_SECONDS
from tests.deploy import files
from tests.deploy.dockerfile import exec_form, stages

DOCKERFILES = sorted((files.DEPLOY / "docker").glob("*Dockerfile"))
SERVICES = files.DEPLOY / "docker/Dockerfile"


@pytest.mark.process
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    """The linter for Dockerfiles has no complaint. Its package has the program for Linux on x86-64 only."""
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint is not installed for this platform")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_no_base_image_has_a_default(path: Path) -> None:
    """A base image is an argument without a default, so that nobody builds from a tag that moves."""
    text = path.read_text()
    bases = {stage.base for stage in stages(path)}
    assert bases <= {"${PYTHON_IMAGE}", "${NODE_IMAGE}"}
    assert f"ARG {BASE}\n" in text
    assert "_IMAGE=" not in text


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_process_is_not_root(path: Path) -> None:
    """The user is a number, so that a platform can check that it is not root."""
    user = stages(path)[-1].last("USER")
    assert user == "10001:10001"


def test_the_image_has_what_runs_and_no_more() -> None:
    """The last stage copies the application from the first one, and nothing of it belongs to the user who runs it."""
    build, final = stages(SERVICES)
    assert [arguments for name, arguments in final.steps if name == "COPY"] == ["--from=build /app /app"]
    copied = {source for name, arguments in build.steps if name == "COPY" for source in arguments.split()[:-1]}
    assert copied == {"deploy/docker/requirements.txt", "deploy/docker/healthcheck.py", "mstoken", "services"}


def test_the_server_and_its_health_check_start_without_a_shell() -> None:
    """So the process gets SIGTERM itself, and no shell is needed. The parser is that of `make run`."""
    final = stages(SERVICES)[-1]
    command = exec_form(final.last("ENTRYPOINT"))
    assert command[:4] == ["python", "-m", "uvicorn", "--factory"]
    assert command[command.index("--http") + 1] == HTTP_PROTOCOL
    assert command[command.index("--timeout-graceful-shutdown") + 1] == str(STOP_SECONDS)
    assert "--no-proxy-headers" in command
    assert exec_form(final.last("HEALTHCHECK").partition("CMD ")[2]) == ["python", "healthcheck.py"]


def test_the_image_has_the_tested_versions() -> None:
    """Every package of the image is in requirements.txt, with which the tests run, in the same version."""

    def versions(path: Path) -> dict[str, str]:
        lines = (line.split(" ")[0] for line in path.read_text().splitlines() if "==" in line and line[0].isalpha())
        return dict(line.split("==") for line in lines)

    tested, image = versions(files.ROOT / "requirements.txt"), versions(files.DEPLOY / "docker/requirements.txt")
    assert {"fastapi", "uvicorn", "asyncpg", "redis", "firebase-admin", "typer"} <= set(image)
    assert not {"pytest", "ruff", "hatchling", "httptools"} & set(image)
    assert {name: version for name, version in image.items() if tested.get(name) != version} == {}
