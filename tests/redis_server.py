"""Redis servers and clusters that the tests start themselves."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from emulator.run.ports import free_port

START_SECONDS = 20.0
MISSING = "redis-server is not installed (Debian: apt install redis-server)"


class RedisServer:
    """A server on a free port, with its files in `folder`. `kill` ends it."""

    def __init__(self, folder: Path, *options: str) -> None:
        """`options` are those of redis-server with which the server always starts."""
        self.port = free_port()
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str, configuration: Path | None = None) -> None:
        """Start the server with these options of redis-server, and return when it answers."""
        log = self._folder / "redis-server.log"
        self._process = subprocess.Popen(
            [
                "redis-server",
                *([configuration] if configuration else []),
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                self._folder,
                "--logfile",
                str(log),
                *self._options,
                *options,
            ]
        )
        with redis.Redis(port=self.port) as client:
            for _ in range(int(START_SECONDS / 0.05)):
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    with suppress(subprocess.TimeoutExpired):
                        status = self._process.wait(0.05)
                        raise AssertionError(f"redis-server ended with {status}:\n{log.read_text()}") from None
        raise AssertionError(f"redis-server did not answer in time:\n{log.read_text()}")

    def command(self, *words: str) -> Any:
        """Execute a command, such as FLUSHALL, and return the answer."""
        with redis.Redis(port=self.port) as client:
            return client.execute_command(*words)

    def kill(self) -> None:
        """Kill the server. It can be started again, with the data that it has in its files."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Suspend the server: connections stay open, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again after `hang`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class RedisNode(RedisServer):
    """A node of a Redis Cluster. It keeps its place in the cluster when it is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.bus_port = free_port()
        super().__init__(folder, "--cluster-enabled", "yes", "--cluster-port", str(self.bus_port))

    @property
    def node_id(self) -> str:
        return str(self.command("CLUSTER", "MYID").decode())

    def knows(self, nodes: int) -> bool:
        """Return whether the node serves, and knows this many nodes."""
        facts = self.command("CLUSTER", "INFO").decode().split()
        return {"cluster_state:ok", f"cluster_known_nodes:{nodes}"} <= set(facts)


class RedisClusterServers:
    """A Redis Cluster of several primaries on free ports, each with its part of the hash slots and no replica."""

    SLOTS = 16384

    def __init__(self, nodes: list[RedisNode]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        """The address of one node."""
        return self.nodes[0].url

    def join(self) -> None:
        """Make the nodes, which have just started, one cluster."""
        for number, node in enumerate(self.nodes):
            first, after = (self.SLOTS * n // len(self.nodes) for n in (number, number + 1))
            node.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(after - 1))
            node.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            if number:
                first_node = self.nodes[0]
                node.command("CLUSTER", "MEET", "127.0.0.1", str(first_node.port), str(first_node.bus_port))
        self.wait_until_complete()

    def wait_until_complete(self) -> None:
        """Return when every node says that the cluster serves all slots."""
        _wait_until(lambda: all(node.knows(len(self.nodes)) for node in self.nodes))

    def node_of(self, key: str) -> RedisNode:
        """Return the node that has the hash slot of `key`, if no slot was moved."""
        slot = redis.crc.key_slot(key.encode())
        return self.nodes[(slot * len(self.nodes) + len(self.nodes) - 1) // self.SLOTS]

    def flush(self) -> None:
        """Delete all keys."""
        for node in self.nodes:
            node.command("FLUSHALL")


def _wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds. Redis does not tell when that is, so it is asked again and again."""
    end = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < end, "the Redis Cluster is not complete in time"
        time.sleep(0.02)


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """Run a server until the end of the block. Skips the test if Redis is not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip(MISSING)
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def running_redis_cluster(folder: Path, nodes: int = 3) -> Iterator[RedisClusterServers]:
    """Run a Redis Cluster until the end of the block. Skips the test if Redis is not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip(MISSING)
    with ExitStack() as ending:
        servers = []
        for number in range(nodes):
            own_folder = folder / str(number)
            own_folder.mkdir()
            server = RedisNode(own_folder)
            ending.callback(server.kill)
            server.start()
            servers.append(server)
        cluster = RedisClusterServers(servers)
        cluster.join()
        yield cluster
