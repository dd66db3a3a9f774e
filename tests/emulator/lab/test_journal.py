"""The journal follows logs while they are written, and keeps a bounded number of events."""

import asyncio
import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from emulator.lab import journal as journal_module
from emulator.lab.journal import KEPT_EVENTS, MAX_LINE_BYTES, MAX_READ_BYTES, FollowedFile, Journal
from emulator.run.events import CallEvent, Event, SignInEvent
from tests.emulator.lab.logged_shop import TOKEN, LoggedShop
from tests.waiting import WAIT_SECONDS


class TestFollowedFile:
    """A file that is read as it grows."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "it.log"

    def test_new_lines_are_returned_once(self, path: Path) -> None:
        """Each line is returned by the first reading after it was written."""
        file = FollowedFile(path)
        assert file.new_lines() == []
        path.write_text("one\ntwo\n")
        assert file.new_lines() == ["one", "two"]
        assert file.new_lines() == []
        append(path, "three\n")
        assert file.new_lines() == ["three"]

    def test_a_line_is_complete_when_its_break_is_there(self, path: Path) -> None:
        """A line that is written in pieces is returned in one piece, also if a character is cut in half."""
        file = FollowedFile(path)
        encoded = "{“é”}\n".encode()
        for index in range(len(encoded)):
            with path.open("ab") as log:
                log.write(encoded[index : index + 1])
            assert file.new_lines() == (["{“é”}"] if index == len(encoded) - 1 else [])

    def test_a_shorter_file_is_read_from_its_beginning(self, path: Path) -> None:
        """A file that was truncated holds new lines only. What was incomplete before is forgotten."""
        file = FollowedFile(path)
        path.write_text("a long line\nincompl")
        assert file.new_lines() == ["a long line"]
        path.write_text("new\n")
        assert file.new_lines() == ["new"]

    def test_another_file_with_the_name_is_read_from_its_beginning(self, path: Path) -> None:
        """If the shop starts again, it deletes its logs, and new files take their places."""
        file = FollowedFile(path)
        path.write_text("old\n")
        assert file.new_lines() == ["old"]
        other = path.with_name("other")
        other.write_text("new and longer\n")
        other.replace(path)
        assert file.new_lines() == ["new and longer"]

    def test_a_file_that_is_gone_for_a_while(self, path: Path) -> None:
        """A missing file has no lines. It is no error."""
        file = FollowedFile(path)
        path.write_text("old\n")
        path.unlink()
        assert file.new_lines() == []

    def test_a_journal_that_is_far_behind_begins_near_the_end(self, path: Path) -> None:
        """If very much was written since the last reading, only the end is read, from the first whole line on."""
        file = FollowedFile(path)
        line = "x" * 99 + "\n"
        path.write_text(line * (2 * MAX_READ_BYTES // 100) + "last\n")
        lines = file.new_lines()
        assert len(lines) <= MAX_READ_BYTES // 100 + 1
        assert set(lines) == {"x" * 99, "last"}
        assert lines[-1] == "last"

    def test_an_endless_line_is_left_out(self, path: Path) -> None:
        """A line that is much longer than a record takes no memory, and the next line is read."""
        file = FollowedFile(path)
        for _ in range(5):
            append(path, "x" * MAX_LINE_BYTES)
            assert file.new_lines() == []
        append(path, "x\nshort\n")
        assert file.new_lines() == ["short"]
        append(path, "y" * (MAX_LINE_BYTES + 1) + "\nafter\n")
        assert file.new_lines() == ["after"]

    def test_bytes_that_are_not_text(self, path: Path) -> None:
        """Bytes that are not UTF-8 are replaced."""
        path.write_bytes(b"\xff\xfe\n")
        assert FollowedFile(path).new_lines() == ["��"]


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_events_of_all_logs_are_in_the_order_of_time(shop: LoggedShop) -> None:
    """What is read at once from several logs is in the order in which it happened. Each event has a number."""
    shop.sign_in(at=-2)
    shop.call(at=-1)
    shop.sign_in(at=-3, process="emulators")
    assert [event.process for event in shop.read()] == ["emulators", "billing", "product"]
    journal = shop.lab.journal
    assert len({event.id for event in journal.kept(SignInEvent)} | {event.id for event in journal.kept(CallEvent)}) == 3


def test_several_workers_write_into_one_log(shop: LoggedShop) -> None:
    """Workers of a service append whole lines to one file. All of them are read."""

    def write(worker: int) -> None:
        for number in range(50):
            shop.call(request_id=f"{worker}-{number}")

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({event.request_id for event in shop.read() if isinstance(event, CallEvent)}) == 200


def test_a_log_with_other_lines(shop: LoggedShop) -> None:
    """Tracebacks, records of other kinds and damaged records are skipped."""
    append(shop.stack.log("product"), "Traceback:\n[1]\n{\n")
    shop.log("product", "started")
    shop.log("product", "call")
    shop.call()
    assert len(shop.read()) == 1


def test_memory_is_bounded(shop: LoggedShop) -> None:
    """A flood of calls leaves the newest of them, and does not push out the few sign-ins of proof mode."""
    shop.sign_in(mode="proof")
    shop.call()
    line = shop.stack.log("product").read_text()
    append(shop.stack.log("product"), line * (KEPT_EVENTS + 500))
    shop.read()
    assert len(shop.lab.journal.kept(CallEvent)) == KEPT_EVENTS
    assert [event.mode for event in shop.lab.journal.kept(SignInEvent)] == ["proof"]


def test_no_event_has_a_token(shop: LoggedShop) -> None:
    """A token that reached a log is in no event."""
    shop.request(path=f"/products/{TOKEN}")
    shop.call(reason=TOKEN, caller=TOKEN)
    assert "eyJhbGci" not in str(shop.read())


async def test_a_subscriber_gets_new_events(shop: LoggedShop) -> None:
    """A subscriber gets what is read after it has subscribed, after the observers."""
    shop.call(request_id="before")
    shop.read()
    with shop.lab.journal.subscribe() as subscription:
        assert await subscription.next(0) == []
        shop.call(request_id="after")
        await asyncio.to_thread(shop.read)
        batch = await subscription.next(WAIT_SECONDS)
    assert batch is not None
    assert [event.request_id for event in batch if isinstance(event, CallEvent)] == ["after"]


async def test_a_slow_subscriber_loses_the_oldest_events(shop: LoggedShop) -> None:
    """Batches wait for a subscriber up to a limit. Then the oldest are dropped."""
    count = journal_module.WAITING_BATCHES + 10
    with shop.lab.journal.subscribe() as subscription:
        for number in range(count):
            shop.call(request_id=str(number))
            shop.read()
        await asyncio.sleep(0)
        batch = await subscription.next(WAIT_SECONDS)
    assert batch is not None
    assert [event.request_id for event in batch if isinstance(event, CallEvent)] == ["10"]


async def test_subscriptions_end_with_the_journal(shop: LoggedShop) -> None:
    """When the journal is closed, its subscribers end, also those that come later."""
    with shop.lab.journal as journal, journal.subscribe() as subscription:
        ended = asyncio.create_task(ids(subscription))
        await asyncio.to_thread(journal.close)
        assert await ended == []
    with journal.subscribe() as late:
        assert await ids(late) == []


async def ids(subscription: journal_module.Subscription) -> list[int]:
    return [event.id async for batch in subscription.every(60) for event in batch]


async def test_an_open_journal_follows_the_logs(shop: LoggedShop) -> None:
    """While it is open, a thread reads the logs by itself, soon after a subscriber has come."""
    with shop.lab.journal as journal, journal.subscribe() as subscription:
        shop.call()
        batch: list[Event] = []
        while not batch:
            batch = list(await subscription.next(WAIT_SECONDS) or ())
    assert isinstance(batch[0], CallEvent)


def test_a_journal_that_is_closed_while_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may close it before its own thread has started: closing does not fail, and no thread goes on."""
    journal = Journal({})
    with ThreadPoolExecutor(1) as other:

        class ClosedBeforeItsStart(threading.Thread):
            def start(self) -> None:
                closing.append(other.submit(journal.close))
                wait(closing, timeout=0.05)  # Closing may wait for the start.
                super().start()

        closing: list[Future[None]] = []
        with monkeypatch.context() as patch:
            other.submit(int).result()  # Its own thread has started.
            patch.setattr(threading, "Thread", ClosedBeforeItsStart)
            journal.__enter__()
        closing[0].result(WAIT_SECONDS)
    assert not any(thread.name == "lab journal" for thread in threading.enumerate())


def test_observers_see_events_first(tmp_path: Path) -> None:
    """Observers are called with each batch that is not empty."""
    seen: list[int] = []
    log = tmp_path / "product.log"
    journal = Journal({"product": log}, [lambda events: seen.append(len(events))])
    journal.poll()
    record = {"event": "hand_over", "time": "2026-01-01T12:00:00Z"}
    log.write_text(f"{json.dumps(record)}\n" * 3)
    journal.poll()
    assert seen == [3]
