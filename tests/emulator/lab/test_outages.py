"""Faults begin and end: by hand, by themselves in time, and never after the lab has ended."""

import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from emulator.lab.outages import NOTICE_SECONDS, Fault, FaultRefused, Outages, ShopFaults, Span
from emulator.run.errors import NotReady, RunnerError
from emulator.run.ports import Ports
from emulator.run.processes import Supervisor
from emulator.run.stack import Stack
from tests.clock import FakeClock
from tests.waiting import WAIT_SECONDS


def nothing() -> None:
    """Do nothing."""


def fault(
    begin: Callable[[], None] = nothing, end: Callable[[], None] | None = nothing, *, limit_seconds: float = 1000
) -> Fault:
    """Return a fault that calls these functions."""
    return Fault("f", "It breaks", "", "", "Break", begin, "Mend", end, limit_seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(100.0)


def test_a_fault_begins_and_ends_by_hand(clock: FakeClock) -> None:
    """While it is on, its span has no end, and the page shows when it ends by itself."""
    calls: list[str] = []
    outages = Outages([fault(lambda: calls.append("begin"), lambda: calls.append("end"))], clock=clock)
    outages.begin("f")
    (status,) = outages.statuses()
    assert (status.state, status.ends_by, outages.spans()) == ("on", 1100.0, [Span("f", "It breaks", 100.0, None)])
    clock.advance(5)
    outages.end("f")
    (status,) = outages.statuses()
    assert (status.state, status.ends_by, outages.spans()) == ("off", None, [Span("f", "It breaks", 100.0, 105.0)])
    assert calls == ["begin", "end"]


def test_a_fault_ends_by_itself(clock: FakeClock) -> None:
    """Leaving the page does not leave the shop broken."""
    ended = threading.Event()
    outages = Outages([fault(end=ended.set, limit_seconds=0.01)], clock=clock)
    outages.begin("f")
    assert ended.wait(WAIT_SECONDS)


def test_a_fault_without_an_end_is_over_at_once(clock: FakeClock) -> None:
    """A key that was changed stays changed."""
    outages = Outages([fault(lambda: clock.advance(2), None)], clock=clock)
    outages.begin("f")
    assert outages.spans() == [Span("f", "It breaks", 100.0, 102.0)]
    assert outages.statuses()[0].state == "off"


def test_a_fault_cannot_begin_twice(clock: FakeClock) -> None:
    """Nor can one end that is not on: two pages may be open."""
    outages = Outages([fault()], clock=clock)
    with pytest.raises(FaultRefused, match="It breaks: this fault is off now"):
        outages.end("f")
    outages.begin("f")
    with pytest.raises(FaultRefused, match="It breaks: this fault is on now"):
        outages.begin("f")
    outages.close()


def test_a_fault_that_cannot_begin_is_off(clock: FakeClock) -> None:
    """The page says why, and it can be tried again."""

    def refuse() -> None:
        raise RunnerError("No process with the name product is running.")

    outages = Outages([fault(refuse)], clock=clock)
    for _ in range(2):
        with pytest.raises(FaultRefused, match="No process with the name product"):
            outages.begin("f")
    assert (outages.statuses()[0].state, outages.spans()[-1].end) == ("off", 100.0)


def test_a_fault_that_cannot_end_is_still_on(clock: FakeClock) -> None:
    """It can be ended again. A shop that does not heal is not shown as healed."""
    failures = [NotReady("product was not ready after 90 s.")]

    def end() -> None:
        if failures:
            raise failures.pop()

    outages = Outages([fault(end=end)], clock=clock)
    outages.begin("f")
    with pytest.raises(FaultRefused, match="product was not ready after 90 s"):
        outages.end("f")
    assert (outages.statuses()[0].state, outages.spans()[0].end) == ("on", None)
    outages.end("f")
    assert (outages.statuses()[0].state, outages.statuses()[0].error) == ("off", None)


def test_an_unexpected_error_is_raised(clock: FakeClock) -> None:
    """A defect of the lab is not taken for a fault of the shop."""

    def defect() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        Outages([fault(defect)], clock=clock).begin("f")


def test_nothing_happens_after_the_end_of_the_lab(clock: FakeClock) -> None:
    """The runner stops everything then. A process that the lab started again would be left behind."""
    ended = threading.Event()
    outages = Outages([fault(end=ended.set)], clock=clock)
    outages.begin("f")
    timer = outages._running["f"].timer
    assert timer is not None
    outages.close()
    timer.join(WAIT_SECONDS)
    assert not timer.is_alive()
    outages._end_in_time("f")  # The time may be over at the moment at which the lab ends.
    assert not ended.is_set()
    with pytest.raises(FaultRefused, match="The lab is ending"):
        outages.begin("f")


class Control:
    """The control paths of the signed Auth emulator, which remember what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path, request.content))
        return httpx.Response(200, json={})


@pytest.fixture
def control() -> Control:
    return Control()


def shop_faults(control: Control, folder: Path, *, redis: bool = False) -> tuple[dict[str, Fault], list[float]]:
    """Return the faults of a stack by their ids, and the pauses that they make."""
    pauses: list[float] = []
    http = httpx.Client(transport=httpx.MockTransport(control))
    faults = ShopFaults(Stack(Ports(), folder, redis=redis), Supervisor(), http, pauses.append)
    return {fault.id: fault for fault in faults.all()}, pauses


def test_slow_answers_end_with_the_fault(control: Control, tmp_path: Path) -> None:
    """The signed emulator delays its answers, and an empty object ends that."""
    faults, _ = shop_faults(control, tmp_path)
    slow = faults["auth-slow"]
    slow.begin()
    assert slow.end is not None
    slow.end()
    assert control.asked == [
        ("PUT", "/_signed/faults", b'{"delay_seconds":3.0}'),
        ("PUT", "/_signed/faults", b"{}"),
    ]


def test_two_faults_of_firebase_end_one_by_one(control: Control, tmp_path: Path) -> None:
    """The emulator gets what is on together. The end of one does not end the other."""
    faults, _ = shop_faults(control, tmp_path)
    slow, down = faults["auth-slow"], faults["auth-stop"]
    assert slow.end is not None
    assert down.end is not None
    for action in slow.begin, down.begin, slow.end, down.end:
        action()
    assert [body for _, _, body in control.asked] == [
        b'{"delay_seconds":3.0}',
        b'{"delay_seconds":3.0,"status":503}',
        b'{"status":503}',
        b"{}",
    ]


def test_a_key_is_announced_before_it_signs(control: Control, tmp_path: Path) -> None:
    """With notice there is a pause between the two, and without notice there is only the change."""
    faults, pauses = shop_faults(control, tmp_path)
    faults["rotate-notice"].begin()
    assert [path for _, path, _ in control.asked] == ["/_signed/announce", "/_signed/rotate"]
    assert pauses == [NOTICE_SECONDS]
    faults["rotate"].begin()
    assert [path for _, path, _ in control.asked[2:]] == ["/_signed/rotate"]


def test_redis_can_stop_only_if_the_shop_uses_it(control: Control, tmp_path: Path) -> None:
    """A button that does nothing would be a lie."""
    assert "redis-stop" not in shop_faults(control, tmp_path)[0]
    assert "redis-stop" in shop_faults(control, tmp_path, redis=True)[0]


def test_every_fault_that_breaks_something_has_an_end_and_a_limit(control: Control, tmp_path: Path) -> None:
    """So the shop always heals."""
    faults, _ = shop_faults(control, tmp_path, redis=True)
    assert {name for name, one in faults.items() if one.end is None} == {"rotate", "rotate-notice"}
    assert all(0 < one.limit_seconds <= 60 for one in faults.values())
