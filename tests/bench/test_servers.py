"""The servers of the benchmark: they start on their cores, tell what they use, and leave nothing behind."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from bench.servers import Server, Servers, bound_to, cores, processor_seconds
from emulator.run.errors import ProcessDied
from emulator.run.ports import free_port, is_taken
from emulator.run.processes import is_alive

pytestmark = pytest.mark.process

SERVER = """
import http.server, os, signal, sys

if os.fork() == 0:
    signal.pause()
print({key: value for key, value in os.environ.items() if key.startswith(("OTEL_", "GREETING"))}, flush=True)
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""
"""A server that starts another process, as uvicorn does for workers."""


def start(servers: Servers, **environment: str) -> Server:
    port = free_port()
    on = () if servers.cores.server is None else {servers.cores.server}
    server = servers.start("small", [sys.executable, "-c", SERVER, str(port)], port, environment, on=on)
    servers.wait_for(server, "/")
    return server


def test_a_server_ends_with_its_block(tmp_path: Path) -> None:
    """At the end of the block no process of a server is left, and its port is free."""
    with Servers(tmp_path) as servers:
        server = start(servers)
        members = list(server.members)
        assert len(members) == 2
    assert not any(is_alive(member) for member in members)
    assert not is_taken(server.port)


def test_a_server_tells_what_it_uses(tmp_path: Path) -> None:
    """The processor time of a server is that of all its processes and grows with its work, and so is its memory."""
    with Servers(tmp_path) as servers:
        server = start(servers)
        before = server.processor_seconds()
        servers.wait_for(server, "/")
        assert server.processor_seconds() > before > 0
        assert server.memory_bytes() > 2 * 2**20


def test_a_server_keeps_to_its_core(tmp_path: Path) -> None:
    """A server is bound to the core that it was given, with the processes that it starts. This process is not."""
    if cores().server is None:
        pytest.skip("this system cannot bind processes to cores")
    before = os.sched_getaffinity(0)
    with Servers(tmp_path) as servers:
        for member in start(servers).members:
            assert set(member.cpu_affinity()) == {servers.cores.server}
    assert os.sched_getaffinity(0) == before


def test_all_cores_are_found_by_a_process_that_is_bound_to_one() -> None:
    """A process that an earlier section has bound to one core still finds all of them."""
    every = cores().every
    with bound_to(every and {min(every)}):
        assert cores().every == every


def test_a_server_has_no_settings_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server has the variables that it was given, and none that would turn telemetry on."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with Servers(tmp_path) as servers:
        start(servers, GREETING="hello")
    assert (tmp_path / "small.log").read_text().splitlines()[0] == "{'GREETING': 'hello'}"


def test_a_server_that_ended_is_noticed(tmp_path: Path) -> None:
    """A server that ends in the middle of a measurement is an error, which has the end of its log."""
    with Servers(tmp_path) as servers:
        server = start(servers)
        server.process.popen.kill()
        server.process.exited.wait(10)
        with pytest.raises(ProcessDied, match="small"):
            servers.supervisor.check(1)


def test_processor_time_is_that_of_the_process() -> None:
    """The processor time of a process is what it says itself, to a few milliseconds."""
    times = psutil.Process().cpu_times()
    assert processor_seconds(os.getpid()) == pytest.approx(times.user + times.system, abs=0.5)
