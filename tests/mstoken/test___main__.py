"""The command line as a module."""

import subprocess
import sys

import pytest


@pytest.mark.process
def test_it_runs_as_a_module() -> None:
    """`python -m mstoken` is the same as `mstoken`, and its help says `mstoken`."""
    command = [sys.executable, "-m", "mstoken", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stdout.startswith("Usage: mstoken ")
    assert result.stderr == ""
