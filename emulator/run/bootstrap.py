"""`make setup`: makes what the shop and the tests need inside the checkout.

The parts are `.venv`, `functions/venv`, `node_modules`, the packages of the example in `examples/node-callee`, and for
the storefront its packages and what Vite builds from it, `web/dist`.

The machine's own Python (3.11 or newer) runs this file, so it uses only the standard library. Each part has a stamp, a
file with a digest of what the part was made from, which is written last. A part whose stamp is current is left alone;
the others are made again. The parts are made at the same time, if none needs another, each with a log of its own.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NODE = (20, 19)
"""The oldest version of Node.js, which Vite needs: major, minor."""
STOP_SECONDS = 5.0
OFFLINE_MESSAGES = (
    "NewConnectionError",
    "name resolution",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ETIMEDOUT",
)


class SetupError(Exception):
    """Set-up cannot go on. The text tells the user why, and what to do."""


@dataclass(frozen=True)
class Part:
    """One environment: its folder, a digest of what it is made from, and the commands that make it, in order."""

    name: str
    folder: Path
    made_from: str
    commands: Sequence[Sequence[str | Path]]
    links: dict[str, str] = field(default_factory=dict)
    """Links to add inside the folder, unless the name exists: name -> target."""
    after: str = ""
    """The name of the part that must be ready before this one is made."""

    @property
    def stamp(self) -> Path:
        """The file with the digest of what the part was made from."""
        return self.folder / ".made-from"

    def is_current(self) -> bool:
        """Return whether the part is complete, and made from the present files."""
        return self.stamp.is_file() and self.stamp.read_text() == self.made_from


def parts(root: Path) -> list[Part]:
    """Return the environments of the checkout at `root`. Raises SetupError as `node_version` does."""
    node = node_version()
    pyproject = tomllib.loads((root / "pyproject.toml").read_text())
    packaging = json.dumps([pyproject["build-system"], pyproject["project"], pyproject["tool"]["hatch"]])
    # The scripts of a virtual environment contain the path of its folder, so a checkout that was moved needs new ones.
    python = f"{sys.version} in {root}"
    venv, functions = root / ".venv", root / "functions"
    site_packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    return [
        Part(
            ".venv",
            venv,
            digest(python, packaging, root / "requirements.txt"),
            [
                *virtual_environment(venv, root / "requirements.txt"),
                [*_pip(venv), "--no-build-isolation", "--no-deps", "--editable", root],
            ],
        ),
        Part(
            "functions/venv",
            functions / "venv",
            digest(python, functions / "requirements.txt"),
            virtual_environment(functions / "venv", functions / "requirements.txt"),
            links={
                # firebase-tools starts the functions with the command that firebase.json's runtime names (python311:
                # python3.11) inside this environment. An environment of a newer Python has no command of that name.
                "bin/python3.11": "python3",
                # The checkout's own mstoken. Its dependencies are in functions/requirements.txt. An editable install
                # would need hatchling in this environment, and so in what is deployed.
                f"{site_packages}/mstoken": "../../../../../mstoken",
            },
        ),
        _node_modules("node_modules", root, node),
        # Without Firestore and Storage, which are optional: 65 packages in place of 185.
        _node_modules("examples/node-callee/node_modules", root / "examples" / "node-callee", node, "--omit=optional"),
        _node_modules("web/node_modules", root / "web", node),
        Part(
            "web/dist",
            root / "web" / "dist",
            digest(node, *_sources(root / "web")),
            [["npm", "run", "build", "--prefix", root / "web"]],
            after="web/node_modules",
        ),
    ]


def _sources(web: Path) -> list[str | Path]:
    """Return the names and the paths of the files that the storefront is built from."""
    files = [*web.glob("*.json"), *web.glob("*.ts"), web / "index.html"]
    files += [path for folder in ("public", "src") for path in (web / folder).rglob("*") if path.is_file()]
    return [fact for path in sorted(files) for fact in (str(path.relative_to(web)), path)]


def _node_modules(name: str, folder: Path, node: str, *options: str) -> Part:
    """Return the part with the packages of `package-lock.json` in `folder`. `node` is the version of Node.js."""
    return Part(
        name,
        folder / "node_modules",
        digest(node, *options, folder / "package.json", folder / "package-lock.json"),
        [["npm", "ci", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", *options]],
    )


def virtual_environment(folder: Path, requirements: Path) -> list[Sequence[str | Path]]:
    """Return the commands that make a virtual environment with exactly these requirements."""
    return [
        [sys.executable, "-m", "venv", "--clear", folder],
        [*_pip(folder), "--require-hashes", "--requirement", requirements],
    ]


def _pip(folder: Path) -> list[str | Path]:
    """Return the beginning of a command that installs packages into the environment in `folder`."""
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    return [folder / "bin" / "python", "-m", "pip", "install", *quiet]


def digest(*facts: str | Path) -> str:
    """Return the SHA-256 of the facts in their order, in hexadecimal. Of a path it uses the content of the file."""
    total = hashlib.sha256()
    for fact in facts:
        content = fact.read_bytes() if isinstance(fact, Path) else fact.encode()
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def node_version() -> str:
    """Return the version of Node.js, such as "v20.11.0". Raises SetupError if Node.js or npm is missing or too old."""
    oldest = ".".join(map(str, NODE))
    node = shutil.which("node")
    if node is None:
        raise SetupError(f"Node.js was not found. Install version {oldest} or newer, with npm.")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    found = re.match(r"v(\d+)\.(\d+)\.", version)
    if found is None or (int(found[1]), int(found[2])) < NODE:
        raise SetupError(
            f"Node.js must be version {oldest} or newer, but {node} is {version or 'broken'}. Install a newer one."
        )
    if shutil.which("npm") is None:
        raise SetupError("npm was not found. Install it: it comes with Node.js, or as a separate package.")
    return version


async def make(part: Part, log: Path) -> None:
    """Make a part. The output of its commands goes to `log`. The stamp is written last.

    Raises SetupError if a command fails. If this is cancelled, the running command is ended.
    """
    part.stamp.unlink(missing_ok=True)
    with log.open("wb") as output:
        for command in part.commands:
            if await run(command, output.fileno()) != 0:
                raise SetupError(why_failed(part.name, log))
    add_links(part)
    part.stamp.write_text(part.made_from)


def add_links(part: Part) -> None:
    """Add the part's links whose names do not exist yet."""
    for name, target in part.links.items():
        if not os.path.lexists(part.folder / name):
            (part.folder / name).symlink_to(target)


async def run(command: Sequence[str | Path], output: int) -> int:
    """Run a command with its output to a file descriptor. Return its exit status.

    If this is cancelled, the command and everything that it started is ended.
    """
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
    """Return why a part could not be made, and what to do, from its log."""
    text = log.read_text(errors="replace")
    if "ensurepip is not available" in text:
        return "Python's venv module is incomplete. Install it (Debian and Ubuntu: apt install python3-venv)."
    if any(message in text for message in OFFLINE_MESSAGES):
        return f"{name} could not be set up: its package registry cannot be reached. Check the network (log: {log})."
    return f"{name} could not be set up: a command failed (log: {log})."


class Progress:
    """What the user sees: a line when a part is ready and, on a terminal, a clock in between."""

    def __init__(self, names: Sequence[str]) -> None:
        self.missing = list(names)
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()
        self._print(f"Setting up {', '.join(names)}; the first time takes a minute or two.")

    def done(self, name: str) -> None:
        """Print that a part is ready."""
        self.missing.remove(name)
        self._print(f"  {name} is ready after {time.monotonic() - self._started:.0f} s")

    def clear(self) -> None:
        """Remove the line that tick draws."""
        self._print("", end="")

    async def tick(self) -> None:
        """Redraw the last line of the terminal four times a second, until all parts are ready."""
        while self._live and self.missing:
            self._print(f"  {time.monotonic() - self._started:.0f} s … {', '.join(self.missing)}", end="")
            await asyncio.sleep(0.25)

    def _print(self, line: str, end: str = "\n") -> None:
        sys.stdout.write(("\r\x1b[K" if self._live else "") + line + end)
        sys.stdout.flush()


async def make_all(missing: Sequence[Part], logs: Path) -> None:
    """Make the parts at the same time, each as soon as the part that it follows is ready, and print the progress.

    `logs` is the folder for the logs, `setup-<part>.log`. If one part fails, the others are ended and SetupError is
    raised.
    """
    progress = Progress([part.name for part in missing])
    ready = {part.name: asyncio.Event() for part in missing}

    async def make_one(part: Part) -> None:
        if part.after in ready:
            await ready[part.after].wait()
        await make(part, logs / f"setup-{part.name.strip('.').replace('/', '-')}.log")
        ready[part.name].set()
        progress.done(part.name)

    try:
        async with asyncio.TaskGroup() as group:
            for part in missing:
                group.create_task(make_one(part))
            group.create_task(progress.tick())
    except* SetupError as failed:
        # If a registry cannot be reached, every part fails. One message is enough.
        raise failed.exceptions[0] from None
    finally:
        progress.clear()


async def until_signalled(work: Coroutine[None, None, None]) -> None:
    """Do the work. Cancel it when the user or the system asks the process to end."""
    task = asyncio.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


def set_up(root: Path) -> None:
    """Make the parts of the checkout at `root` that are missing or out of date.

    Raises SetupError, and CancelledError if interrupted.
    """
    missing = [part for part in parts(root) if not part.is_current()]
    if missing:
        logs = root / ".data" / "logs"
        for folder in (logs.parent, logs):
            folder.mkdir(mode=0o700, exist_ok=True)
        asyncio.run(until_signalled(make_all(missing, logs)))


def main() -> int:
    """Set up the checkout of this file. Return the exit status: 0, 1 after a failure, 130 if interrupted."""
    try:
        set_up(Path(__file__).resolve().parents[2])
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except asyncio.CancelledError:
        sys.stderr.write("Set-up was interrupted. Run the command again to finish it.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
