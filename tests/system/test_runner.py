"""The runner as a process: it starts the shop, prints what happens, and leaves no process behind."""

import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from emulator.demo.purchase import PATIENCE_SECONDS
from emulator.run.catalogue import add_catalogue, catalogue
from emulator.run.logins import LOGINS, MAYA
from emulator.run.ports import HOST, Ports, free_offset
from emulator.run.shop_client import logged_in
from emulator.run.stack import ROOT
from tests.recording_proxy import recording_proxy
from tests.running_runner import WAIT_SECONDS, RunningRunner

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunningRunner]]:
    """Starts runners. They end with the test."""
    started: list[RunningRunner] = []

    def start_runner(*arguments: str, **environment: str) -> RunningRunner:
        started.append(RunningRunner(tmp_path, *arguments, **environment))
        return started[-1]

    yield start_runner
    for runner in started:
        runner.kill()


@pytest.mark.parametrize(("mode", "spent"), [("fresh", "token"), ("proof", "proof")])
def test_demo_shows_the_purchase_and_ends(start: Callable[..., RunningRunner], mode: str, spent: str) -> None:
    """The demo prints the bill, the delivery, the calls between services, the hops of the first call, and refusals.

    It prints no token, and ends with status 0.
    """
    runner = start("demo", "--mode", mode)
    assert runner.end() == 0, runner.output
    assert re.search(r"Total .* 123\.90 USD", runner.output)
    assert "The delivery is delivered." in runner.output
    for caller, callee in (("billing", "product"), ("billing", "user"), ("delivery", "billing")):
        assert re.search(rf"svc:{caller} .* {callee} .* {callee} .* {mode} .* [\d.]+ s .* [\w-]{{22}}", runner.output)
    for where in ("metadata server", "function token", "Firebase Auth", "product"):
        assert re.search(rf"│ {where} .* [\d.]+ ms │", runner.output)
    assert re.search(rf"the same call a second time .* 401 {spent}_replayed", runner.output)
    assert re.search(r"a token with a forged signature .* 401 token_untrusted", runner.output)
    assert "eyJ" not in runner.output
    assert runner.output.endswith("Everything is stopped.\n")


@pytest.mark.parametrize(
    "exceptions",
    [{}, {"NO_PROXY": "localhost,127.0.0.1", "no_proxy": "localhost,127.0.0.1"}],
    ids=["no exceptions", "NO_PROXY"],
)
def test_no_request_of_the_shop_goes_through_a_proxy(
    start: Callable[..., RunningRunner], exceptions: dict[str, str]
) -> None:
    """The demo works with every variable for a proxy set, and no process of it asks the proxy for anything.

    This includes the Node.js processes of firebase-tools, which ignores NO_PROXY.
    """
    with recording_proxy() as proxy:
        runner = start("demo", **proxy.variables(), **exceptions)
        status = runner.end()
        assert proxy.requests == []
    assert status == 0, runner.output


def test_run_stays_up_until_it_is_interrupted(start: Callable[..., RunningRunner]) -> None:
    """`run` stays up, with the demo users, the whole catalogue, and the lab. Ctrl-C ends everything, with status 0."""
    runner = start("run")
    runner.read_until("Everything is up.")
    for login in LOGINS:
        assert login.password in runner.output
        with logged_in(runner.stack, login) as client:
            assert {found["name"] for found in client.products()} == {product["name"] for product in catalogue()}
    assert add_catalogue(runner.stack) == 0
    lab = runner.stack.url("lab")
    assert lab in runner.output
    assert "user:seed-maya" in httpx.get(lab, timeout=WAIT_SECONDS).text
    with httpx.stream(
        "GET", f"{lab}/calls/events", timeout=WAIT_SECONDS
    ):  # A page that is open does not hold up the end.
        runner.interrupt()
    assert runner.end() == 0, runner.output
    assert runner.output.endswith("Everything is stopped.\n")


def test_spent_ids_in_redis_and_the_fault_that_stops_it(
    start: Callable[..., RunningRunner], redis_program: str
) -> None:
    """With `--redis`, spent ids are in a Redis of the shop, and in no file. The lab can stop it and start it again.

    While it is down, no call is let in: an order is answered 503, and succeeds when Redis is back.
    """
    runner = start("run", "--redis")
    runner.read_until("Everything is up.")
    stack = runner.stack
    assert any(" ".join(command).startswith(redis_program) for command in runner.commands().values())
    with redis.Redis(port=stack.ports.redis) as store:
        assert [key for key in store.scan_iter("mstoken:*") if b":id:" in key]
    assert not [path.name for path in stack.data.glob("*-spent.db") if path.name != "functions-spent.db"]

    def change(action: str) -> None:
        headers = {"Origin": stack.url("lab")}
        answer = httpx.post(f"{stack.url('lab')}/faults/redis-stop/{action}", headers=headers, timeout=WAIT_SECONDS)
        assert answer.status_code == 204, answer.text

    with logged_in(stack, MAYA) as maya:
        items = [{"product_id": next(maya.products())["id"], "quantity": 1}]
        order: dict[str, Any] = {"json": {"items": items}, "headers": {"Idempotency-Key": secrets.token_hex(8)}}
        change("begin")
        assert maya.call("POST", "billing", "/bills", 503, **order)["code"] == "product_unavailable"
        change("end")
        maya.call("POST", "billing", "/bills", 201, patience_seconds=PATIENCE_SECONDS, **order)
    runner.interrupt()
    assert runner.end() == 0, runner.output


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a process with its parent")
def test_nothing_outlives_a_runner_that_is_killed(start: Callable[..., RunningRunner]) -> None:
    """If the runner is ended by SIGKILL, everything that it started ends, including the functions."""
    runner = start("run")
    runner.read_until("Everything is up.")
    assert any("functions-framework" in " ".join(command) for command in runner.commands().values())
    runner.kill()
    runner.wait_until_gone()


def test_run_ends_when_a_service_dies(start: Callable[..., RunningRunner]) -> None:
    """If a service ends, `run` names it, prints the end of its log, stops the others, and ends with status 1."""
    runner = start("run")
    runner.read_until("Everything is up.")
    uvicorn = ["uvicorn", "--factory", "services.product.app:create_app"]
    (product,) = (process for process, command in runner.commands().items() if command[2:5] == uvicorn)
    product.kill()
    assert runner.end() == 1
    assert "Failed: product was ended by signal 9" in runner.output


def test_a_service_that_does_not_start_ends_the_demo(start: Callable[..., RunningRunner]) -> None:
    """If a service cannot start, the demo names it, prints the end of its log, and ends with status 1."""
    runner = start("demo", UVICORN_LOG_LEVEL="nonsense")
    assert runner.end() == 1
    assert re.search(r"^Failed: \w+ ended with status 2 \(log: .*\)\.$", runner.output, re.MULTILINE)
    assert "nonsense" in runner.output


def test_a_missing_program_ends_the_demo(start: Callable[..., RunningRunner]) -> None:
    """Without Node.js the demo says that the emulators ended and why, stops the rest, and ends with status 1."""
    runner = start("demo", PATH="/nonexistent")
    assert runner.end() == 1
    assert "Failed: firebase emulators:start ended with status 1" in runner.output
    assert "node cannot be run: No such file or directory" in runner.output


def test_a_port_in_use_ends_the_demo_at_once(tmp_path: Path) -> None:
    """If a port is in use, the demo names it and what needs it, and ends with status 1 before anything starts."""
    offset = free_offset()
    port = Ports.shifted(offset).billing
    with socket.create_server((HOST, port)):
        done = subprocess.run(
            [sys.executable, "-m", "emulator", "demo", "--port-offset", str(offset), "--data", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
        )
    assert done.returncode == 1
    assert done.stdout.startswith(f"Failed: Port {port}, which billing needs, is in use.")
    assert done.stdout.count("\n") == 1
    assert not list(tmp_path.iterdir())
