"""The examples in Node.js pass the test vectors of docs/protocol.md."""

import re
import subprocess

import pytest

from emulator.run.stack import ROOT


@pytest.mark.parametrize(("example", "fewest"), [("node-callee", 250), ("node-caller", 10)])
@pytest.mark.process
def test_the_example_passes_the_vectors(example: str, fewest: int) -> None:
    """`npm test` runs every vector of that side, and none of them fails."""
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap"],
        cwd=ROOT / "examples" / example,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, "\n".join(re.findall(r"^not ok .*", done.stdout, re.MULTILINE)) or done.stderr
    assert int(re.findall(r"^# pass (\d+)", done.stdout, re.MULTILINE)[0]) >= fewest
