"""A value for each event loop, made when the loop first needs it."""

import asyncio
import os
import threading
from itertools import count

import pytest

from mstoken.per_loop import PerLoop
from tests.elsewhere import in_own_loop


def numbered() -> PerLoop[int]:
    numbers = count(1)
    return PerLoop(lambda: next(numbers))


async def test_a_loop_has_one_value() -> None:
    """It is made when it is first needed, and again after it was popped."""
    value = numbered()
    assert value.pop() is None
    assert [value.get(), value.get(), value.pop(), value.pop(), value.get()] == [1, 1, 1, None, 2]


def test_two_loops_one_after_the_other() -> None:
    """The second loop gets a value of its own, and the value of the first, which is closed, is dropped."""
    dropped = threading.Event()

    class Value:
        def __del__(self) -> None:
            dropped.set()

    value = PerLoop(Value)

    async def get() -> None:
        value.get()

    asyncio.run(get())
    assert not dropped.is_set()
    asyncio.run(get())
    assert dropped.is_set()


def test_loops_in_twelve_threads() -> None:
    """Each loop keeps its own value while the other loops run."""
    value, together, seen = numbered(), threading.Barrier(12), set()

    async def get_twice() -> None:
        first = value.get()
        together.wait(20)
        assert value.get() == first
        seen.add(first)

    threads = [threading.Thread(target=lambda: asyncio.run(get_twice())) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 12


async def test_a_failure_is_not_kept() -> None:
    """What making a value raises reaches the task that asked, and the next one tries again."""
    attempts = iter([OSError("down"), None])

    def make() -> int:
        if error := next(attempts):
            raise error
        return 7

    value = PerLoop(make)
    with pytest.raises(OSError, match="down"):
        value.get()
    assert value.get() == 7


async def test_a_value_is_closed_once() -> None:
    """By its owner, or else at the end of its loop. A value that was never made is not closed."""
    closed: list[int] = []
    numbers = count(1)

    async def close(number: int) -> None:
        await asyncio.sleep(0)
        closed.append(number)

    value = PerLoop(lambda: next(numbers), close)
    await value.aclose()

    async def get_and_close() -> None:
        value.get()
        await value.aclose()
        await value.aclose()

    async def get_and_leave() -> None:
        value.get()

    await in_own_loop(get_and_close)
    assert closed == [1]
    await in_own_loop(get_and_leave)
    assert closed == [1, 2]
    assert value.get() == 3
    await value.aclose()
    assert closed == [1, 2, 3]


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_without_values() -> None:
    """A value that was made before the fork belongs to the parent."""
    value = numbered()

    async def get() -> int:
        return value.get()

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(get()) == 1
    if not (child := os.fork()):
        os._exit(asyncio.run(get()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert loop.run_until_complete(get()) == 1
    loop.close()
