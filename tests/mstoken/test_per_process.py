"""A value for each process: made once, by whichever thread needs it first, and made anew after a fork."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest

from mstoken.per_process import PerProcess

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 30.0


def run(script: str) -> str:
    """Return what `script` prints in an interpreter of its own. These scripts fork while threads run, on purpose."""
    command = [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", dedent(script)]
    ended = subprocess.run(command, cwd=ROOT, timeout=2 * DEADLINE_SECONDS, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_the_value_is_made_when_it_is_first_needed() -> None:
    """Nothing is made before the first `get`, and the second `get` returns the same value."""
    numbers = count(1)
    value = PerProcess(lambda: next(numbers))
    assert value.peek() is None
    assert [value.get(), value.get(), value.peek()] == [1, 1, 1]


def test_threads_share_one_value() -> None:
    """Threads that ask at the same time wait for one value."""
    numbers, start = count(1), threading.Barrier(8)
    value = PerProcess(lambda: next(numbers))

    def get(_: int) -> int:
        start.wait()
        return value.get()

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(get, range(8))) == {1}


def test_after_a_failure_the_next_thread_tries_again() -> None:
    """What making a value raises reaches the thread that asked, and nothing is kept."""
    results: Iterator[Exception | int] = iter([OSError("down"), 7])

    def make() -> int:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    value = PerProcess(make)
    with pytest.raises(OSError, match="down"):
        value.get()
    assert value.get() == 7


def test_after_pop_a_new_value_is_made() -> None:
    """`pop` returns the value once; without a value it returns None."""
    numbers = count(1)
    value = PerProcess(lambda: next(numbers))
    assert value.pop() is None
    assert value.get() == 1
    assert [value.pop(), value.pop()] == [1, None]
    assert value.get() == 2


@pytest.mark.process
def test_a_forked_child_makes_its_own_value() -> None:
    """The value of the parent is not used in the child, and the parent keeps its own."""
    output = run(
        """
        import os
        from mstoken.per_process import PerProcess

        value = PerProcess(os.getpid)
        before = value.get()
        child = os.fork()
        assert value.peek() == (before if child else None)
        assert value.get() == os.getpid()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            print("ok")
        """
    )
    assert output == "ok\n"


@pytest.mark.process
def test_a_fork_while_another_thread_makes_the_value() -> None:
    """The child does not wait for the lock of a thread that it does not have."""
    output = run(
        """
        import os, signal, threading
        from mstoken.per_process import PerProcess

        making, may_end = threading.Event(), threading.Event()

        def make():
            if threading.current_thread() is not threading.main_thread():
                making.set()
                may_end.wait()
            return os.getpid()

        value = PerProcess(make)
        thread = threading.Thread(target=value.get)
        thread.start()
        making.wait()
        child = os.fork()
        if not child:
            signal.alarm(20)
            os._exit(value.get() != os.getpid())
        status = os.waitpid(child, 0)[1]
        may_end.set()
        thread.join()
        print("the child waits for ever" if status else "ok")
        """
    )
    assert output == "ok\n"


@pytest.mark.process
def test_a_child_does_not_finalize_what_its_parent_uses() -> None:
    """A finalizer could close a connection or a file that the parent still uses, so it does not run in the child."""
    output = run(
        """
        import os
        from mstoken.per_process import PerProcess

        class Connection:
            def __del__(self):
                os.write(1, b"finalized by the %s\\n" % (b"child" if os.getpid() != parent else b"parent"))

        parent = os.getpid()
        connection = PerProcess(Connection)
        connection.get()
        child = os.fork()
        if not child:
            connection.get()
            os._exit(0)
        os.waitpid(child, 0)
        connection.pop()
        """
    )
    assert output == "finalized by the parent\n"
