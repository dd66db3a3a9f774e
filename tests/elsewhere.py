"""Work in another event loop, in another thread, or in a forked child."""

import asyncio
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


async def in_own_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return the result of `work()`, which runs in an event loop of its own, in a thread of its own."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(asyncio.run(work()))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run).start()
    return await asyncio.wrap_future(result)


def in_forked_child(work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Return the result of `work()` in a forked child, a number from 0 to 9. An error fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork while threads run.
        child = os.fork()
    if not child:
        status = 99
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            status = asyncio.run(work())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert 0 <= status < 10, f"the child ended with {status}"
    return status
