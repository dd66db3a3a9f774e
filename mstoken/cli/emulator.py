"""`mstoken emulator`: what the Firebase emulators lack, in front of them."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import httpx
import typer

from mstoken.claims import service_name
from mstoken.cli.errors import FAILED, USAGE, CommandError
from mstoken.cli.output import note, say
from mstoken.emulator import firebase_project
from mstoken.emulator.addresses import FUNCTIONS_VARIABLE, HOST, SIGNED_AUTH_PORT, LocalEmulators
from mstoken.extras import MissingExtra, needed_by
from mstoken.settings import DEMO_PREFIX, HOST_AND_PORT, PROJECT_ID

CONTEXT_SETTINGS = {"allow_interspersed_args": False}
"""Everything from the first word of COMMAND on belongs to COMMAND."""
POLL_SECONDS = 0.2
ANSWER_SECONDS = 5.0
ENV_FILE_HEADER = "# Written by mstoken emulator."
EXAMPLE = """\b
Example:
  mstoken emulator --env-file .env.local -- firebase emulators:start
  uvicorn --env-file .env.local app:app"""


def emulator(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- COMMAND",
            help="A command that runs the Firebase emulators. It is started first, and this command ends with it.",
            show_default=False,
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            envvar="GOOGLE_CLOUD_PROJECT",
            help="The project, which must begin with demo-. Default: the --project of COMMAND, or that of .firebaserc.",
            show_default=False,
        ),
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help=f"The Auth emulator. Default: as in firebase.json, or {firebase_project.DEFAULT_AUTH_EMULATOR}.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65_535, help="The port of the signed Auth emulator.")
    ] = SIGNED_AUTH_PORT,
    service: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PORT",
            help="A service that gets its custom tokens from the token service, and the port of its metadata server. "
            "Repeat it for each service.",
            show_default=False,
        ),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the variables to this file when everything is ready; those of a service to FILE.NAME.",
        ),
    ] = None,
) -> None:
    """Run the signed Auth emulator in front of the Firebase emulators.

    The Auth emulator does not sign its ID tokens, so anyone could forge one. The signed Auth emulator signs them and
    publishes certificates as Google does. With --service, it also runs a metadata server for each service, which gives
    it the identity token that proves to the token service who it is.

    It waits for the Auth emulator, prints the variables to export, and runs until it is interrupted.
    """
    try:
        with needed_by("mstoken emulator", "emulator"):
            from mstoken.emulator.server import PortInUse, running
    except MissingExtra as error:
        raise CommandError(str(error)) from None
    emulators = LocalEmulators(_project(project, command or []), _auth_emulator(auth), port, _services(service or []))
    if env_file is not None:
        for path in _env_files(env_file, emulators):
            _check_may_write(path)
    try:
        with running(emulators), _Child.started(command, emulators) as child, _interruptible(child) as stopped:
            if env_file is not None:
                _remove_env_files(env_file, emulators)
            if _wait_for_auth_emulator(emulators.upstream, child, stopped):
                _announce(emulators)
                if env_file is not None:
                    _write_env_files(env_file, emulators)
                if child is None:
                    stopped.wait()
            status = 0 if child is None else child.wait()
    except PortInUse as error:
        raise CommandError(str(error)) from error
    raise typer.Exit(status)


class _Child:
    """The command that runs the Firebase emulators, in the foreground of the same terminal."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @staticmethod
    @contextmanager
    def started(command: Sequence[str] | None, emulators: LocalEmulators) -> Iterator["_Child | None"]:
        """Start the command, if there is one. At the end of the block, ask it to end and wait until it has."""
        if not command:
            yield None
            return
        executable = shutil.which(command[0])
        if executable is None:
            raise CommandError(f"No such command: {command[0]}. Is it installed, and on the PATH?")
        env = os.environ | {FUNCTIONS_VARIABLE: f"{HOST}:{emulators.port}"}
        child = _Child(subprocess.Popen([executable, *command[1:]], env=env))  # noqa: S603 - it is the user's command
        try:
            yield child
        finally:
            child.end()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait until the command has ended. Return its exit status; for a signal as a shell does, 128 + its number."""
        status = self._process.wait()
        return status if status >= 0 else 128 - status

    def send(self, number: int) -> None:
        if self.is_running():
            self._process.send_signal(number)

    def end(self) -> None:
        self.send(signal.SIGTERM)
        self._process.wait()


@contextmanager
def _interruptible(child: _Child | None) -> Iterator[threading.Event]:
    """Set the event at SIGINT and SIGTERM, and pass the signal on to the command. The handlers end with the block."""
    stopped = threading.Event()

    def stop(number: int, _frame: FrameType | None) -> None:
        stopped.set()
        # The terminal itself sends Ctrl-C to the command too. A second one would make the emulators skip their export.
        if child is not None and not (number == signal.SIGINT and sys.stdin.isatty()):
            child.send(number)

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _wait_for_auth_emulator(address: str, child: _Child | None, stopped: threading.Event) -> bool:
    """Return True when the Auth emulator answers; False if we are to end before, or if the command has ended."""
    # Requests to this machine must not go through a proxy.
    with httpx.Client(base_url=f"http://{address}", timeout=ANSWER_SECONDS, trust_env=False) as client:
        was_told = False
        while not stopped.is_set() and (child is None or child.is_running()):
            if _is_auth_emulator(client):
                return True
            if not was_told:
                start = "" if child else " Start it, for example: firebase emulators:start --only auth"
                note(f"Waiting for the Auth emulator at {address}.{start}")
                was_told = True
            stopped.wait(POLL_SECONDS)
    return False


def _is_auth_emulator(client: httpx.Client) -> bool:
    """Return whether the Auth emulator answers. Raise `CommandError` if another program does."""
    try:
        answer = client.get("/")
        body = answer.json()
    except httpx.TransportError:
        return False
    except ValueError:
        body = None
    if not isinstance(body, dict) or "authEmulator" not in body:
        raise CommandError(
            f"{client.base_url.netloc.decode()} is not the Auth emulator: another program answers there. "
            "Name the emulator's address with --auth."
        )
    return True


def _announce(emulators: LocalEmulators) -> None:
    say("# Export these in every process that calls or is called:")
    for name, value in emulators.environment().items():
        say(f"export {name}={shlex.quote(value)}")
    for service in emulators.services:
        say(f"# And in {service}, which gets its custom tokens from the token service:")
        for name, value in emulators.environment(service).items():
            if name not in emulators.environment():
                say(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()


def _env_files(path: Path, emulators: LocalEmulators) -> dict[Path, dict[str, str]]:
    """Return what each file is to contain."""
    files = {path: emulators.environment()}
    return files | {path.with_name(f"{path.name}.{name}"): emulators.environment(name) for name in emulators.services}


def _check_may_write(path: Path) -> None:
    if not path.parent.is_dir():
        raise CommandError(f"The folder {path.parent} of --env-file does not exist. Make it first.", FAILED)
    if path.exists() and not path.read_text(errors="replace").startswith(ENV_FILE_HEADER):
        raise CommandError(
            f"{path} exists, and this command did not write it. Choose another file for --env-file.", FAILED
        )


def _remove_env_files(path: Path, emulators: LocalEmulators) -> None:
    """Remove the files of an earlier run: a script that waits for them would begin before the emulators are ready."""
    for file in _env_files(path, emulators):
        file.unlink(missing_ok=True)


def _write_env_files(path: Path, emulators: LocalEmulators) -> None:
    for file, variables in _env_files(path, emulators).items():
        lines = [f"{name}={value}" for name, value in variables.items()]
        file.write_text("\n".join([ENV_FILE_HEADER, *lines]) + "\n")
        note(f"Wrote {file}.")


def _project(named: str | None, command: Sequence[str]) -> str:
    project = named or firebase_project.project_of_command(command) or firebase_project.default_project()
    if project is None:
        raise CommandError("The project is not known. Name it, for example: --project demo-shop", USAGE)
    if not project.startswith(DEMO_PREFIX):
        raise CommandError(
            f"The project is {project!r}: with emulators it must begin with {DEMO_PREFIX!r}, so that nothing reaches "
            f"a real project by mistake. For example: --project {DEMO_PREFIX}{project}",
            USAGE,
        )
    if not PROJECT_ID.fullmatch(project):
        raise CommandError(
            f"The project is {project!r}: it must be a project id, such as demo-shop, with lower-case letters, digits "
            "and hyphens.",
            USAGE,
        )
    return project


def _auth_emulator(named: str | None) -> str:
    address = named or firebase_project.auth_emulator()
    if not HOST_AND_PORT.fullmatch(address):
        source = "--auth" if named else "The address of the Auth emulator in firebase.json"
        raise CommandError(
            f"{source} is {address!r}: it must be host:port without a scheme, such as 127.0.0.1:9099.", USAGE
        )
    return address


def _services(texts: Sequence[str]) -> dict[str, int]:
    """Return the port of each service, from texts such as "billing=9103"."""
    services: dict[str, int] = {}
    for text in texts:
        match = re.fullmatch(r"(.+)=([1-9][0-9]{0,4})", text)
        if match is None or int(match[2]) > 65_535:
            raise CommandError(f"--service {text}: a service and its port are expected, such as billing=9103.", USAGE)
        try:
            services[service_name(match[1])] = int(match[2])
        except ValueError as error:
            raise CommandError(f"--service {text}: {error}.", USAGE) from None
    if len(services) < len(texts) or len(set(services.values())) < len(services):
        raise CommandError("--service: each service must be named once, and have a port of its own.", USAGE)
    return services
