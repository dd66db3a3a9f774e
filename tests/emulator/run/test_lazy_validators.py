"""The file that Node loads before firebase-tools, so that the Auth emulator starts sooner."""

import subprocess

import pytest

from emulator.run.stack import LAZY_VALIDATORS, ROOT

pytestmark = pytest.mark.process

SHOW_OPTION = 'console.log(require("exegesis/lib/options").compileOptions({}).lazyCompileValidationSchemas)'


def node(*arguments: str) -> str:
    """Return what Node prints, run where it finds the packages of firebase-tools."""
    return subprocess.check_output(["node", *arguments], cwd=ROOT, text=True).strip()


def test_validators_are_compiled_when_they_are_first_used() -> None:
    """The Auth emulator would compile all of them at its start: the option of its router is off by default."""
    assert node("-e", SHOW_OPTION) == "false"
    assert node("--require", str(LAZY_VALIDATORS), "-e", SHOW_OPTION) == "true"
