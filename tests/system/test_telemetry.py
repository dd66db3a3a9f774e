"""One purchase is one trace, in a shop that runs in processes, received by OTLP as a collector receives it."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from emulator.demo.purchase import ADDRESS, CUSTOMER, Purchase, buy
from emulator.run.catalogue import add_catalogue
from emulator.run.errors import Unexpected
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import SERVICES, Stack
from tests.otlp import OtlpReceiver, otlp_receiver
from tests.system.conftest import begin_memory_of_spent_ids
from tests.trace_tree import Node, picture, tree
from tests.waiting import wait_until

CALLS = """
billing: POST /bills
  product: POST /reservations
  product: POST /reservations/{bill_id}/commit
billing: POST /bills/{bill_id}/delivery
  user: GET /users/{uid}
  billing: send deliver
    functions: deliver
      billing: POST /deliveries/{delivery_id}/events
      billing: POST /deliveries/{delivery_id}/events
"""
"""The services that a purchase goes through. Between them there are spans of clients, statements and sign-ins."""

METRICS = {"mstoken.verification.duration", "shop.bills", "http.server.request.duration"}
ATTEMPTS = 5


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """A receiver of OTLP."""
    with otlp_receiver() as receiver:
        yield receiver


@pytest.fixture
def traced_stack(
    receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    """A shop with emulators of its own, all of whose processes send to the receiver."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
    folder = tmp_path_factory.mktemp("traced")
    stack = Stack(Ports.shifted(free_offset()), folder, project=f"demo-traced-{secrets.token_hex(4)}", mode="proof")
    supervisor = Supervisor()
    begin_memory_of_spent_ids(stack)
    try:
        stack.start_emulators(supervisor)
        stack.start_services(supervisor)
        add_catalogue(stack)
        yield stack
    finally:
        supervisor.stop()


@pytest.mark.emulator
@pytest.mark.slow
def test_a_purchase_is_one_trace(traced_stack: Stack, receiver: OtlpReceiver) -> None:
    """Its tree crosses all services, the outbox and the function, and returns. Metrics arrive too.

    Nothing that is received has a token, a password, or anything about the customer.
    """
    purchase = buy_patiently(traced_stack)
    nodes = wait_for_calls(receiver, purchase.trace_id)
    assert [line.strip() for line in calls_in(nodes)] == [line.strip() for line in CALLS.strip().splitlines()]
    assert "product: mstoken.verification" in {node.title for node in nodes}
    # The first call to a service waits for a token, which the token service signs.
    wait_until(lambda: {"billing: mstoken.sign_in", "functions: token"} <= receiver.titles)
    wait_until(lambda: receiver.metrics >= METRICS)
    received = "".join(receiver.texts)
    secret = [CUSTOMER.password, CUSTOMER.email, *(text for text in ADDRESS.values() if text and len(text) > 2)]
    assert [text for text in [*secret, purchase.bill["id"]] if text in received] == []
    assert re.search(r"eyJ[\w-]+\.[\w-]+\.", received) is None
    assert "key=" not in received


def buy_patiently(stack: Stack) -> Purchase:
    """Buy something. On a busy machine the functions emulator may start too slowly for the first purchases."""
    for _ in range(ATTEMPTS):
        with suppress(Unexpected):
            return buy(stack)
    return buy(stack)


def wait_for_calls(receiver: OtlpReceiver, trace_id: str) -> list[Node]:
    """Return the spans of a trace as soon as those of all services have arrived."""
    expected = len(CALLS.strip().splitlines())
    wait_until(lambda: len(calls_in(receiver.trace(trace_id))) >= expected)
    nodes = receiver.trace(trace_id)
    if picture_file := os.environ.get("TRACE_PICTURE"):
        Path(picture_file).write_text(picture(tree(nodes)))
    return nodes


def calls_in(nodes: list[Node]) -> list[str]:
    """Return the lines of the picture that are requests, and the hand-over, in their order."""
    lines = picture(tree(nodes), with_times=False).splitlines()
    return [line for line in lines if re.match(rf"\s*({'|'.join(SERVICES)}|functions): ((\w+ /)|send|deliver)", line)]
