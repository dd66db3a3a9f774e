"""The lab as a server: it listens on this machine only, sends events, and ends at once."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from emulator.lab import server
from emulator.run.errors import PortTaken
from emulator.run.ports import Ports, free_offset
from tests.emulator.lab.logged_shop import TOKEN, LoggedShop

WAIT_SECONDS = 20.0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[LoggedShop]:
    """A lab that is served on a free port."""
    shop = LoggedShop(tmp_path, Ports.shifted(free_offset()))
    with server.running(shop.lab, shop.environment):
        yield shop


def first_events(shop: LoggedShop, path: str, names: set[str]) -> dict[str, str]:
    """Return the data of the first event of each of these names. A call happens once the stream is open."""
    found: dict[str, str] = {}
    name = ""
    with httpx.stream("GET", shop.stack.url("lab") + path, timeout=WAIT_SECONDS) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        shop.call(request_id="r7")
        shop.request(request_id="r7", path=f"/{TOKEN}")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.setdefault(name, line.removeprefix("data: "))
            if names <= found.keys():
                return found
    raise AssertionError(f"The stream ended: {found}")


def test_a_call_is_sent_as_it_happens(served: LoggedShop) -> None:
    """A page that is open gets a call, the line that it was on, and the numbers of the picture."""
    found = first_events(served, "/calls/events", {"calls", "hops", "picture"})
    assert "svc:billing" in json.loads(found["calls"])["html"]
    assert json.loads(found["hops"])["hops"] == ["billing-product"]


def test_charts_are_sent(served: LoggedShop) -> None:
    """A page that is open gets the charts."""
    found = first_events(served, "/charts/events", {"charts"})
    assert len(json.loads(found["charts"])) == 5


def test_no_page_and_no_event_has_a_token(served: LoggedShop) -> None:
    """Whatever reached the logs: no page and no event has anything that looks like a token."""
    served.call(reason=TOKEN, caller=TOKEN, verdict=TOKEN, one_time_id=TOKEN, user=TOKEN, token=TOKEN)
    served.request(path=f"/products/{TOKEN}", method=TOKEN)
    served.sign_in(token=TOKEN, audience=TOKEN, mode=TOKEN)
    served.log("emulators", "token", service=TOKEN, audience=TOKEN, mode=TOKEN, verdict=TOKEN, proven_by=TOKEN)
    served.read()
    base = served.stack.url("lab")
    texts = [
        httpx.get(base + path, timeout=WAIT_SECONDS).text
        for path in ("/", f"/?verdict={TOKEN}", "/charts", *(f"/calls/{n}" for n in range(9)))
    ]
    texts += first_events(served, "/calls/events", {"calls", "picture"}).values()
    texts += first_events(served, "/charts/events", {"charts"}).values()
    for text in texts:
        assert not re.search(r"eyJ[\w-]{10,}", text)


def test_it_ends_at_once(tmp_path: Path) -> None:
    """Open streams, and requests that wait for the main thread, do not hold up the end."""
    shop = LoggedShop(tmp_path, Ports.shifted(free_offset()))
    opened = threading.Event()

    def watch() -> None:
        with httpx.stream("GET", shop.stack.url("lab") + "/calls/events", timeout=WAIT_SECONDS) as answer:
            opened.set()
            for _ in answer.iter_lines():
                pass

    with server.running(shop.lab, shop.environment):
        watcher = threading.Thread(target=watch)
        watcher.start()
        assert opened.wait(WAIT_SECONDS)
        waiting = shop.lab.supervisor.in_main_thread(lambda: None)
        began = time.monotonic()
    assert time.monotonic() - began < server.GRACE_SECONDS
    assert waiting.cancelled()
    watcher.join(WAIT_SECONDS)
    assert not watcher.is_alive()


def test_it_listens_on_this_machine_only(served: LoggedShop) -> None:
    """Other addresses of this machine, which the network can reach, have no listener."""
    with socket.socket() as client:
        client.settimeout(WAIT_SECONDS)
        assert client.connect_ex(("127.0.0.2", served.stack.ports.lab)) != 0


def test_a_port_in_use_is_an_error(tmp_path: Path) -> None:
    """The error names the port."""
    shop = LoggedShop(tmp_path, Ports.shifted(free_offset()))
    with (
        socket.create_server(("127.0.0.1", shop.stack.ports.lab)),
        pytest.raises(PortTaken, match=f"Port {shop.stack.ports.lab} is in use"),
        server.running(shop.lab, shop.environment),
    ):
        pass
