"""Two Firebase emulators that start at the same time do not find the same port for their functions."""

import os
import subprocess

import pytest

from emulator.run.stack import PORT_OFFSET, ROOT

FIND_PORT = 'require("portfinder").getPortPromise({ port: %d }).then((port) => process.stdout.write(String(port)))'

pytestmark = pytest.mark.process


def found_port(first: int, offset: int) -> int:
    """Return the port that firebase-tools would find, looking from `first` on, in a shop with this offset."""
    command = ["node", "--require", str(PORT_OFFSET), "-e", FIND_PORT % first]
    environment = os.environ | {"SHOP_PORT_OFFSET": str(offset)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT, env=environment, check=True)
    return int(done.stdout)


def test_each_shop_looks_from_a_port_of_its_own_on() -> None:
    """The port for the functions is shifted by the offset of the shop, as all its other ports are."""
    assert 20_081 <= found_port(8081, 12_000) < 20_101
    assert 8081 <= found_port(8081, 0) < 12_000


def test_other_ports_are_not_shifted() -> None:
    """The port of a debugger is found as before."""
    assert 9229 <= found_port(9229, 12_000) < 12_000
