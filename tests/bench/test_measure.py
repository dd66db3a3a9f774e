"""Operations are measured in turns, and what they need is made outside of the time."""

import os

from bench.measure import MICROSECOND, Work, measured, on_one_core, peaks


async def test_operations_take_turns() -> None:
    """All operations run in each round. The first round is not counted, and inputs are made for each."""
    called: list[str] = []

    async def first(number: int) -> None:
        called.append(f"first {number}")

    async def second(_: int) -> None:
        called.append("second")

    works = {"first": Work(first, range, repetitions=2), "second": Work(second, range, repetitions=1)}
    costs = await measured(works, rounds=2)
    assert called == ["first 0", "first 1", "second"] * 3
    assert [len(costs[name].cpu) for name in works] == [2, 2]
    assert all(value >= 0 for value in costs["first"].elapsed)


async def test_one_call_is_told_in_microseconds() -> None:
    """The cost of a round is divided by the number of its calls."""

    async def work(_: int) -> None:
        sum(range(10_000))

    (cost,) = (await measured({"work": Work(work, range, repetitions=4)}, rounds=1)).values()
    assert 1 < cost.cpu[0] < 1 / MICROSECOND


async def test_the_memory_of_a_call_is_told_in_kilobytes() -> None:
    """It is what the call needs at its peak, also if it keeps nothing."""

    async def work(_: int) -> None:
        bytearray(500_000)

    found = await peaks({"work": Work(work, range, repetitions=3)})
    assert len(found["work"]) == 3
    assert all(500 <= value < 520 for value in found["work"])


def test_a_process_gets_its_cores_back() -> None:
    """In the block it uses one core. After it, it may use all that it had before."""
    if not hasattr(os, "sched_getaffinity"):
        return  # This system cannot bind processes to cores.
    before = os.sched_getaffinity(0)
    with on_one_core(-1):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before
