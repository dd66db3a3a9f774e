"""services/common/transactions.py: work that is not abandoned"""

import asyncio

import pytest

from services.common.transactions import to_the_end


async def test_the_result_of_work() -> None:
    """The result of the work is returned, and its error is raised."""

    async def fail() -> None:
        raise ZeroDivisionError

    assert await to_the_end(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ZeroDivisionError):
        await to_the_end(fail())


@pytest.mark.parametrize("fails", [False, True], ids=["the work succeeds", "the work fails"])
async def test_work_whose_caller_is_cancelled(fails: bool) -> None:
    """The work goes on to its end, however often its caller is cancelled, and only then does the caller end."""
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), False

    async def work() -> None:
        nonlocal ended
        begun.set()
        await may_end.wait()
        ended = True
        if fails:
            raise ZeroDivisionError

    caller = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    for _ in range(2):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended
