"""Set-up: parts that are current are left alone, and failures are named. A part that failed is not current."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from emulator.run import bootstrap
from emulator.run.bootstrap import Part, SetupError, digest, make, make_all, parts, why_failed

WAIT_SECONDS = 20.0


def part(folder: Path, *code: str, made_from: str = "these files") -> Part:
    """Return a part that Python code makes, in a folder that exists."""
    folder.mkdir(exist_ok=True)
    commands: list[Sequence[str | Path]] = [[sys.executable, "-c", text] for text in code]
    return Part(folder.name, folder, made_from, commands, links={"linked": "target"})


@pytest.mark.process
async def test_a_part_that_was_made_is_current(tmp_path: Path) -> None:
    """To make a part runs its commands, adds its links, and makes it current."""
    made = part(tmp_path / "part", "print('one')", "print('two')")
    assert not made.is_current()
    await make(made, tmp_path / "log")
    assert made.is_current()
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    assert (tmp_path / "part" / "linked").readlink() == Path("target")


async def test_a_part_made_from_something_else_is_not_current(tmp_path: Path) -> None:
    """A part is out of date once what it is made from has changed."""
    await make(part(tmp_path / "part"), tmp_path / "log")
    assert not part(tmp_path / "part", made_from="other files").is_current()


@pytest.mark.process
async def test_a_part_that_fails_is_not_current(tmp_path: Path) -> None:
    """If a command fails, SetupError is raised, and the part is not current, even if it was before."""
    await make(part(tmp_path / "part"), tmp_path / "log")
    broken = part(tmp_path / "part", "raise SystemExit(1)", "print('never')")
    with pytest.raises(SetupError, match=r"part could not be set up: a command failed \(log: .*log\)"):
        await make(broken, tmp_path / "log")
    assert not broken.is_current()


@pytest.mark.process
async def test_one_failure_ends_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If one part fails, the others are ended at once."""
    slow = part(tmp_path / "slow", "import time; time.sleep(600)")
    broken = part(tmp_path / "broken", "raise SystemExit(1)")
    started = time.monotonic()
    with pytest.raises(SetupError, match="broken could not be set up"):
        await make_all([slow, broken], tmp_path)
    assert time.monotonic() - started < WAIT_SECONDS
    assert not slow.is_current()
    assert capsys.readouterr().out.startswith("Setting up slow, broken;")


@pytest.mark.process
async def test_a_part_waits_for_the_part_that_it_follows(tmp_path: Path) -> None:
    """A part that needs another one is made after it, whatever their order in the list."""
    first = part(tmp_path / "first", f"import time; time.sleep(0.2); open({str(tmp_path / 'made')!r}, 'w')")
    second = replace(part(tmp_path / "second", f"open({str(tmp_path / 'made')!r})"), after="first")
    await make_all([second, first], tmp_path)
    assert second.is_current()


@pytest.mark.process
async def test_a_part_whose_predecessor_is_ready_does_not_wait(tmp_path: Path) -> None:
    """A part is made at once if the part that it follows is up to date, and so not in the list."""
    alone = replace(part(tmp_path / "alone"), after="first")
    await make_all([alone], tmp_path)
    assert alone.is_current()


def test_digest_tells_contents_apart(tmp_path: Path) -> None:
    """A digest depends on the content of files, and on where one fact ends and the next begins."""
    (tmp_path / "lock").write_text("a==1")
    before = digest("python", tmp_path / "lock")
    (tmp_path / "lock").write_text("a==2")
    assert digest("python", tmp_path / "lock") != before
    assert digest("ab", "c") != digest("a", "bc")


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("npm error code EAI_AGAIN", "node_modules could not be set up: its package registry cannot be reached"),
        ("... because ensurepip is not available.", "Python's venv module is incomplete"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES", "node_modules could not be set up: a command failed (log:"),
    ],
)
def test_a_known_cause_is_named(tmp_path: Path, log: str, message: str) -> None:
    """If the log shows a known cause, the message names it."""
    (tmp_path / "log").write_text(log)
    assert why_failed("node_modules", tmp_path / "log").startswith(message)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout with the real bootstrap.py, and a folder `bin` to put commands into."""
    (tmp_path / "emulator" / "run").mkdir(parents=True)
    shutil.copy(bootstrap.__file__, tmp_path / "emulator" / "run")
    for folder in ("functions", "examples/node-callee", "web/src", "web/public"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[build-system]\n[project]\n[tool.hatch]\n")
    for name in ("requirements.txt", "functions/requirements.txt"):
        (tmp_path / name).touch()
    (tmp_path / "web" / "index.html").touch()
    for packages in (tmp_path, tmp_path / "examples" / "node-callee", tmp_path / "web"):
        (packages / "package.json").touch()
        (packages / "package-lock.json").touch()
    (tmp_path / "bin").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "text", "stale"),
    [
        ("requirements.txt", "a==2", {".venv"}),
        ("functions/requirements.txt", "a==2", {"functions/venv"}),
        ("package-lock.json", "{}", {"node_modules"}),
        ("examples/node-callee/package-lock.json", "{}", {"examples/node-callee/node_modules"}),
        ("web/package-lock.json", "{}", {"web/node_modules", "web/dist"}),
        ("web/src/main.ts", "1", {"web/dist"}),
        ("web/public/icon.svg", "<svg/>", {"web/dist"}),
        ("web/index.html", "<p>", {"web/dist"}),
        ("web/vite.config.ts", "1", {"web/dist"}),
        ("web/README.md", "# Storefront", set()),
        ("pyproject.toml", "[build-system]\n[project]\nversion = '2'\n[tool.hatch]\n", {".venv"}),
        ("pyproject.toml", "[build-system]\n[project]\n[tool.hatch]\n[tool.ruff]\nfix = true\n", set()),
    ],
)
@pytest.mark.process
def test_a_change_makes_only_its_own_part_out_of_date(checkout: Path, changed: str, text: str, stale: set[str]) -> None:
    """A part is out of date only if its own lock file or packaging has changed."""
    before = {made.name: made.made_from for made in parts(checkout)}
    (checkout / changed).write_text(text)
    after = {made.name: made.made_from for made in parts(checkout)}
    assert {name for name in after if after[name] != before[name]} == stale


def command(checkout: Path, name: str, script: str) -> None:
    """Add a shell script to the commands in `bin`."""
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def start(checkout: Path) -> subprocess.Popen[str]:
    """Run the checkout's set-up as `make setup` does, with only the commands in `bin` on the PATH."""
    return subprocess.Popen(
        [sys.executable, str(checkout / "emulator" / "run" / "bootstrap.py")],
        env=os.environ | {"PATH": str(checkout / "bin")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ({}, "Node.js was not found. Install version 20.19 or newer, with npm.\n"),
        (
            {"node": "echo v18.20.8"},
            "Node.js must be version 20.19 or newer, but {bin}/node is v18.20.8. Install a newer one.\n",
        ),
        (
            {"node": "echo v20.9.0"},
            "Node.js must be version 20.19 or newer, but {bin}/node is v20.9.0. Install a newer one.\n",
        ),
        ({"node": "echo v22.1.0"}, "npm was not found. Install it: it comes with Node.js, or as a separate package.\n"),
    ],
)
@pytest.mark.process
def test_a_missing_program_is_named(checkout: Path, commands: dict[str, str], message: str) -> None:
    """Without npm and a recent Node.js, set-up says what is missing, does nothing, and ends with status 1."""
    for name, script in commands.items():
        command(checkout, name, script)
    with start(checkout) as process:
        output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output) == (1, "")
    assert errors == message.format(bin=checkout / "bin")
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.process
def test_an_interrupted_set_up_leaves_nothing_running(checkout: Path, number: signal.Signals) -> None:
    """If set-up is interrupted, its commands end, no stamp is left, a message says so, and the status is 130."""
    command(checkout, "node", "echo v22.1.0")
    command(checkout, "npm", f"echo $$ > {checkout}/new; /bin/mv {checkout}/new {checkout}/npm.pid; /bin/sleep 600")
    with start(checkout) as process:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (checkout / "npm.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130
    assert errors == "Set-up was interrupted. Run the command again to finish it.\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int((checkout / "npm.pid").read_text()), 0)
    assert not list(checkout.rglob(".made-from"))
