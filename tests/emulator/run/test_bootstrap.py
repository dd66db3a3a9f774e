"""Set-up: what is current is left alone, what fails or is interrupted is not current, and faults are named."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from emulator.run import bootstrap
from emulator.run.bootstrap import Part, SetupError, digest, make, make_all, parts, why_failed

WAIT_SECONDS = 20.0


def part(folder: Path, *code: str, made_from: str = "these files") -> Part:
    """A part made by Python code, in a folder that exists."""
    folder.mkdir(exist_ok=True)
    commands: list[Sequence[str | Path]] = [[sys.executable, "-c", text] for text in code]
    return Part(folder.name, folder, made_from, commands, links={"linked": "target"})


@pytest.mark.process
async def test_a_part_that_is_made_is_current(tmp_path: Path) -> None:
    """Making a part runs its commands, adds its links, and makes it current."""
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
    """A command that fails ends the making with a sentence, and the part is not current, even if it was before."""
    await make(part(tmp_path / "part"), tmp_path / "log")
    broken = part(tmp_path / "part", "raise SystemExit(1)", "print('never')")
    with pytest.raises(SetupError, match=r"part could not be set up \(log: .*log\)"):
        await make(broken, tmp_path / "log")
    assert not broken.is_current()


@pytest.mark.process
async def test_one_failure_ends_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """When one part fails, the others are ended rather than waited for."""
    slow = part(tmp_path / "slow", "import time; time.sleep(600)")
    broken = part(tmp_path / "broken", "raise SystemExit(1)")
    started = time.monotonic()
    with pytest.raises(SetupError, match="broken could not be set up"):
        await make_all([slow, broken], tmp_path)
    assert time.monotonic() - started < WAIT_SECONDS
    assert not slow.is_current()
    assert capsys.readouterr().out.startswith("Setting up slow, broken;")


def test_digest_tells_contents_apart(tmp_path: Path) -> None:
    """A digest depends on what a file holds, and on where one fact ends and the next begins."""
    (tmp_path / "lock").write_text("a==1")
    before = digest("python", tmp_path / "lock")
    (tmp_path / "lock").write_text("a==2")
    assert digest("python", tmp_path / "lock") != before
    assert digest("ab", "c") != digest("a", "bc")


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("npm error code EAI_AGAIN", "node_modules could not be set up: its package registry cannot be reached"),
        ("... because ensurepip is not available.", "Python's venv module is incomplete"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES", "node_modules could not be set up (log:"),
    ],
)
def test_known_causes_have_a_sentence(tmp_path: Path, log: str, sentence: str) -> None:
    """A log that tells of a known cause gives a sentence that says it."""
    (tmp_path / "log").write_text(log)
    assert why_failed("node_modules", tmp_path / "log").startswith(sentence)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout with the real bootstrap, and a folder `bin` for commands to find."""
    (tmp_path / "emulator" / "run").mkdir(parents=True)
    shutil.copy(bootstrap.__file__, tmp_path / "emulator" / "run")
    (tmp_path / "functions").mkdir()
    (tmp_path / "pyproject.toml").write_text("[build-system]\n[project]\n[tool.hatch]\n")
    for name in ("requirements.txt", "functions/requirements.txt", "package.json", "package-lock.json"):
        (tmp_path / name).touch()
    (tmp_path / "bin").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "text", "stale"),
    [
        ("requirements.txt", "a==2", {".venv"}),
        ("functions/requirements.txt", "a==2", {"functions/venv"}),
        ("package-lock.json", "{}", {"node_modules"}),
        ("pyproject.toml", "[build-system]\n[project]\nversion = '2'\n[tool.hatch]\n", {".venv"}),
        ("pyproject.toml", "[build-system]\n[project]\n[tool.hatch]\n[tool.ruff]\nfix = true\n", set()),
    ],
)
@pytest.mark.process
def test_a_change_makes_anew_only_what_is_made_from_it(
    checkout: Path, changed: str, text: str, stale: set[str]
) -> None:
    """A part is out of date when its own lock file or packaging has changed, and only then."""
    before = {made.name: made.made_from for made in parts(checkout)}
    (checkout / changed).write_text(text)
    after = {made.name: made.made_from for made in parts(checkout)}
    assert {name for name in after if after[name] != before[name]} == stale


def command(checkout: Path, name: str, script: str) -> None:
    """Puts a shell script among the commands to find."""
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def start(checkout: Path) -> subprocess.Popen[str]:
    """Runs the checkout's set-up as `make setup` does, with only its own commands to find."""
    return subprocess.Popen(
        [sys.executable, str(checkout / "emulator" / "run" / "bootstrap.py")],
        env=os.environ | {"PATH": str(checkout / "bin")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("commands", "sentence"),
    [
        ({}, "Node.js is missing: install version 20 or newer, with npm.\n"),
        ({"node": "echo v18.19.1"}, "Node.js 20 or newer is needed, but {bin}/node is v18.19.1.\n"),
        ({"node": "echo v22.1.0"}, "npm is missing: it comes with Node.js, or as a package of its own.\n"),
    ],
)
@pytest.mark.process
def test_what_is_missing_is_named(checkout: Path, commands: dict[str, str], sentence: str) -> None:
    """Without a fitting Node and npm set-up says which is missing, does nothing, and ends with status 1."""
    for name, script in commands.items():
        command(checkout, name, script)
    with start(checkout) as process:
        output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, output) == (1, "")
    assert errors == sentence.format(bin=checkout / "bin")
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.process
def test_an_interrupted_set_up_leaves_nothing_running(checkout: Path, number: signal.Signals) -> None:
    """Interrupting set-up ends its commands, says so, leaves no stamp, and gives status 130."""
    command(checkout, "node", "echo v22.1.0")
    command(checkout, "npm", f"echo $$ > {checkout}/new; /bin/mv {checkout}/new {checkout}/npm.pid; /bin/sleep 600")
    with start(checkout) as process:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (checkout / "npm.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130
    assert errors == "Set-up was interrupted: the next start takes it up again.\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int((checkout / "npm.pid").read_text()), 0)
    assert not list(checkout.rglob(".made-from"))
