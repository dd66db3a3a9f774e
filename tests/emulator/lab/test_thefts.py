"""What a thief gets for the last request, in each way to say who is calling. The emulators sign the tokens."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from emulator.attacks.wire import Answer
from emulator.lab.thefts import TIMES, TheftFailed, Thefts, accepted, steal, summary
from emulator.run.ports import Ports, free_offset, free_port
from emulator.run.stack import Stack
from mstoken import Settings
from tests.waiting import WAIT_SECONDS

WEAK = ("secret", "plain")
STRONG = {"fresh": "token_replayed", "proof": "proof_replayed"}


@pytest.fixture
def thefts(emulators: Stack, auth_emulator: Settings, tmp_path: Path) -> Iterator[Thefts]:
    """The till, and a thief. The way "user" needs the service User, so tests/browser/test_lab_leaks.py has it."""
    thefts = Thefts(emulators.beside(Ports.shifted(free_offset()), tmp_path))
    with thefts.running():
        yield thefts


@pytest.mark.parametrize("way", WEAK)
def test_a_thief_makes_ten_bills_in_a_weak_way(thefts: Thefts, way: str) -> None:
    """The same bytes are good again and again, until an end that is an hour away or not known."""
    thefts.buy(way)
    thefts.steal(way)
    state = thefts.states[way]
    assert (state.honest_bills, state.stolen_bills, summary(state.last_theft)) == (1, TIMES, [("accepted", TIMES, "")])


@pytest.mark.parametrize("way", STRONG)
def test_a_thief_makes_no_bill_with_mstoken(thefts: Thefts, way: str) -> None:
    """Billing's own call was good, and spent its id."""
    for _ in range(2):
        thefts.buy(way)
        thefts.steal(way)
    state = thefts.states[way]
    assert (state.honest_bills, state.stolen_bills) == (2, 0)
    assert summary(state.last_theft) == [(STRONG[way], TIMES, "spend")]


@pytest.mark.parametrize("way", [*WEAK, *STRONG])
def test_what_the_thief_has_is_shown_in_part_only(thefts: Thefts, way: str) -> None:
    """A page with it gives no credential away."""
    thefts.buy(way)
    recording = thefts.states[way].recording
    assert recording is not None
    assert f"POST /{way}/bills HTTP/1.1" in recording.shown.text
    assert re.search(r"[A-Za-z0-9_-]{30,}", recording.shown.text) is None
    assert re.search(rb"[A-Za-z0-9_-]{30,}", recording.request)


def test_there_is_nothing_to_steal_before_the_first_call(thefts: Thefts) -> None:
    """The page says so."""
    with pytest.raises(TheftFailed, match="Let Billing call first"):
        thefts.steal("fresh")


def test_the_till_refuses_wrong_credentials_and_web_pages(thefts: Thefts) -> None:
    """The weak routes are as careful as such routes can be, and none of them is for a web page."""
    till = f"http://127.0.0.1:{thefts.port}"
    wrong = {"X-Internal-Secret": "guess", "Authorization": "Bearer e30.e30.x", "X-MS-TOKEN": "e30.e30.x"}
    page = {"Origin": "https://evil.example"}
    for way in "secret", "user", "plain", "fresh", "proof":
        url = f"{till}/{way}/bills"
        answers = [
            httpx.post(url, headers=headers, timeout=WAIT_SECONDS).status_code
            for headers in ({}, wrong, page, {"Host": "evil.example"})
        ]
        assert answers == [401, 401, 403, 403]


def test_a_till_that_cannot_run_says_why(emulators: Stack, auth_emulator: Settings, tmp_path: Path) -> None:
    """The other pages of the lab work all the while."""
    stack = emulators.beside(Ports.shifted(free_offset()), tmp_path)
    thefts = Thefts(stack)
    with (
        socket.create_server(("127.0.0.1", stack.ports.till)),
        thefts.running(),
        pytest.raises(TheftFailed, match=f"The till does not run: Port {stack.ports.till} is in use"),
    ):
        thefts.buy("secret")


def test_a_service_that_is_down_is_no_refusal() -> None:
    """Nothing was refused, so nothing is shown as refused."""
    with pytest.raises(TheftFailed, match=r"did not answer \(ConnectionRefusedError\)"):
        steal(b"GET / HTTP/1.1\r\n\r\n", free_port())


def test_answers_are_summed_up() -> None:
    """The most frequent first, each with the check that gave it."""
    answers = [Answer(201, ""), *[Answer(401, "token_replayed")] * 2, Answer(503, "verifier_unavailable")]
    assert summary(answers) == [("token_replayed", 2, "spend"), ("accepted", 1, ""), ("verifier_unavailable", 1, "")]
    assert accepted(answers) == 1
