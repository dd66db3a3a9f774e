"""Sets up what running and testing need inside the checkout: `.venv`, `node_modules` and `functions/venv`.

Run by the machine's own Python (3.11 or newer), so only the standard library is used here. Each part carries a
stamp, written last, of what it was made from; a part whose stamp still fits is left alone, any other is made
anew. The parts are made at the same time, each with a log of its own.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NODE_MAJOR = 20
STOP_SECONDS = 5.0
OFFLINE_SIGNS = (
    "NewConnectionError",
    "name resolution",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ETIMEDOUT",
)


class SetupError(Exception):
    """Set-up cannot go on; the text is one sentence for the user."""


@dataclass(frozen=True)
class Part:
    """One environment: its folder, a digest of what it is made from, and the commands that make it, in order."""

    name: str
    folder: Path
    made_from: str
    commands: Sequence[Sequence[str | Path]]
    links: dict[str, str] = field(default_factory=dict)
    """Links added inside the folder where nothing of that name exists: name -> target."""

    @property
    def stamp(self) -> Path:
        """The file that says what the part was made from."""
        return self.folder / ".made-from"

    def is_current(self) -> bool:
        """Whether the part is complete, and made from what is asked for now."""
        return self.stamp.is_file() and self.stamp.read_text() == self.made_from


def parts(root: Path) -> list[Part]:
    """The three environments of the checkout at root. Raises SetupError when Node or npm will not do."""
    node = node_version()
    pyproject = tomllib.loads((root / "pyproject.toml").read_text())
    packaging = json.dumps([pyproject["build-system"], pyproject["project"], pyproject["tool"]["hatch"]])
    # A virtual environment's scripts name its folder: a checkout that was moved needs new ones.
    python = f"{sys.version} in {root}"
    venv, functions = root / ".venv", root / "functions"
    site_packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    return [
        Part(
            ".venv",
            venv,
            digest(python, packaging, root / "requirements.txt"),
            [
                *_environment(venv, root / "requirements.txt"),
                [*_pip(venv), "--no-build-isolation", "--no-deps", "--editable", root],
            ],
        ),
        Part(
            "functions/venv",
            functions / "venv",
            digest(python, functions / "requirements.txt"),
            _environment(functions / "venv", functions / "requirements.txt"),
            links={
                # firebase-tools starts functions with the command that firebase.json's runtime names (python311:
                # python3.11, as deployed) inside this environment; a newer Python's has no such name.
                "bin/python3.11": "python3",
                # The checkout's own mstoken and nothing beside it; what it needs stands in functions/requirements.in.
                # An editable install would need hatchling here, and so in what is deployed.
                f"{site_packages}/mstoken": "../../../../../mstoken",
            },
        ),
        Part(
            "node_modules",
            root / "node_modules",
            digest(node, root / "package.json", root / "package-lock.json"),
            [["npm", "ci", "--prefix", root, "--ignore-scripts", "--no-audit", "--no-fund"]],
        ),
    ]


def _environment(folder: Path, requirements: Path) -> list[Sequence[str | Path]]:
    return [
        [sys.executable, "-m", "venv", "--clear", folder],
        [*_pip(folder), "--require-hashes", "--requirement", requirements],
    ]


def _pip(folder: Path) -> list[str | Path]:
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    return [folder / "bin" / "python", "-m", "pip", "install", *quiet]


def digest(*facts: str | Path) -> str:
    """SHA-256 in hex over facts in order: a path counts by the file's content, a text by itself."""
    total = hashlib.sha256()
    for fact in facts:
        content = fact.read_bytes() if isinstance(fact, Path) else fact.encode()
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def node_version() -> str:
    """Node's version, such as "v20.11.0". Raises SetupError: no Node, a Node too old, or no npm."""
    node = shutil.which("node")
    if node is None:
        raise SetupError(f"Node.js is missing: install version {NODE_MAJOR} or newer, with npm.")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    major = version.removeprefix("v").partition(".")[0]
    if not major.isdigit() or int(major) < NODE_MAJOR:
        raise SetupError(f"Node.js {NODE_MAJOR} or newer is needed, but {node} is {version or 'broken'}.")
    if shutil.which("npm") is None:
        raise SetupError("npm is missing: it comes with Node.js, or as a package of its own.")
    return version


async def make(part: Part, log: Path) -> None:
    """Makes a part, its commands' output in log; the stamp is written last.

    Raises SetupError when a command fails. Cancelling ends the command that runs.
    """
    part.stamp.unlink(missing_ok=True)
    with log.open("wb") as output:
        for command in part.commands:
            if await run(command, output.fileno()) != 0:
                raise SetupError(why_failed(part.name, log))
    add_links(part)
    part.stamp.write_text(part.made_from)


def add_links(part: Part) -> None:
    """Adds the part's links, where nothing of that name exists."""
    for name, target in part.links.items():
        if not os.path.lexists(part.folder / name):
            (part.folder / name).symlink_to(target)


async def run(command: Sequence[str | Path], output: int) -> int:
    """Runs a command, its output to a file descriptor, and returns its status; if cancelled, ends all of it."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
        raise


def why_failed(name: str, log: Path) -> str:
    """One sentence on why a part could not be made, by what its log says."""
    text = log.read_text(errors="replace")
    if "ensurepip is not available" in text:
        return "Python's venv module is incomplete: install it (Debian and Ubuntu: apt install python3-venv)."
    if any(sign in text for sign in OFFLINE_SIGNS):
        return f"{name} could not be set up: its package registry cannot be reached (log: {log})."
    return f"{name} could not be set up (log: {log})."


class Progress:
    """What the user sees: a line as each part is ready and, on a terminal, the seconds in between."""

    def __init__(self, names: Sequence[str]) -> None:
        self.missing = list(names)
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()
        self._say(f"Setting up {', '.join(names)}; the first time takes a minute or two.")

    def done(self, name: str) -> None:
        """Tells that a part is ready."""
        self.missing.remove(name)
        self._say(f"  {name} is ready after {time.monotonic() - self._started:.0f} s")

    def clear(self) -> None:
        """Takes away the line that tick draws."""
        self._say("", end="")

    async def tick(self) -> None:
        """Redraws the terminal's last line four times a second, until nothing is missing."""
        while self._live and self.missing:
            self._say(f"  {time.monotonic() - self._started:.0f} s … {', '.join(self.missing)}", end="")
            await asyncio.sleep(0.25)

    def _say(self, line: str, end: str = "\n") -> None:
        sys.stdout.write(("\r\x1b[K" if self._live else "") + line + end)
        sys.stdout.flush()


async def make_all(wanted: Sequence[Part], logs: Path) -> None:
    """Makes the parts at the same time, and tells how it goes.

    logs is the folder for `setup-<part>.log`. Raises SetupError when one fails, after ending the others.
    """
    progress = Progress([part.name for part in wanted])

    async def make_one(part: Part) -> None:
        await make(part, logs / f"setup-{part.name.strip('.').replace('/', '-')}.log")
        progress.done(part.name)

    try:
        async with asyncio.TaskGroup() as group:
            for part in wanted:
                group.create_task(make_one(part))
            group.create_task(progress.tick())
    except* SetupError as failed:
        # A registry that cannot be reached fails every part: one sentence is enough.
        raise failed.exceptions[0] from None
    finally:
        progress.clear()


async def until_signalled(work: Coroutine[None, None, None]) -> None:
    """Does the work, and cancels it when the user or the system asks the process to end."""
    task = asyncio.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


def set_up(root: Path) -> None:
    """Makes the parts of the checkout at root that are missing or out of date.

    Raises SetupError, and CancelledError when interrupted.
    """
    missing = [part for part in parts(root) if not part.is_current()]
    if missing:
        logs = root / ".data" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        asyncio.run(until_signalled(make_all(missing, logs)))


def main() -> int:
    """Sets up the checkout that this file is in; the exit status: 0, 1 after a failure, 130 if interrupted."""
    try:
        set_up(Path(__file__).resolve().parents[2])
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except asyncio.CancelledError:
        sys.stderr.write("Set-up was interrupted: the next start takes it up again.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
