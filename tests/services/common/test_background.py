"""services/common/background.py"""

import asyncio
import logging

import pytest

from services.common.background import PAUSE_SECONDS, Repeated, in_batches
from services.common.errors import DatabaseUnavailable


class Job:
    """A job that counts how often it was run, and raises `error` if there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.begun = 0
        self.ended = 0
        self.again = asyncio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        if self.begun > 2:
            self.again.set()
        await asyncio.sleep(0.01)
        if self.error:
            raise self.error
        self.ended += 1


async def test_a_job_runs_at_the_start_and_repeatedly() -> None:
    """A job runs when the app starts and repeatedly while it serves, and its last run ends before the app does."""
    job = Job()
    async with asyncio.timeout(30), Repeated("job", job, every_seconds=0.001):
        await job.again.wait()
    assert job.begun == job.ended
    done = job.begun
    await asyncio.sleep(0.03)
    assert job.begun == done


async def test_the_end_of_an_app_does_not_wait_for_the_next_run() -> None:
    """An app that ends while no job is running ends at once."""
    job = Job()
    async with asyncio.timeout(30), Repeated("job", job, every_seconds=3600):
        await asyncio.sleep(0.05)
    assert job.ended == 1


async def test_a_job_that_does_not_end_is_cancelled() -> None:
    """The end of an app waits for a running job for a limited time, and then cancels it."""
    async with asyncio.timeout(30), Repeated("job", asyncio.Event().wait, every_seconds=1, stop_seconds=0.01):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("error", "event", "level", "message"),
    [
        (DatabaseUnavailable(), "background", logging.WARNING, ": database_unavailable"),
        (RuntimeError("x"), "defect", logging.ERROR, " because of a defect: RuntimeError"),
    ],
)
async def test_a_failed_job_is_logged_and_runs_again(
    caplog: pytest.LogCaptureFixture, error: Exception, event: str, level: int, message: str
) -> None:
    """A job that fails, with a problem or a defect, is logged with its name, and runs again when it is due."""
    job = Job(error)
    async with asyncio.timeout(30), Repeated("job", job, every_seconds=0.001):
        await job.again.wait()
    record = next(record for record in caplog.records if record.name == "services.background")
    assert (record.__dict__["event"], record.levelno, record.__dict__["job"]) == (event, level, "job")
    assert record.message == f"the job job failed{message}"


async def test_rows_are_deleted_in_batches() -> None:
    """A job deletes until a batch is not full. Between two batches it waits, so that others have a turn."""
    batches, pauses = [5, 5, 2, 9], []

    async def delete() -> int:
        return batches.pop(0)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    assert await in_batches(delete, size=5, sleep=sleep) == 12
    assert batches == [9]
    assert pauses == [PAUSE_SECONDS] * 2
