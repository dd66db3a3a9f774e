"""The task queue of the function `deliver`: Cloud Tasks, or on a laptop the tasks emulator."""

import asyncio
import os
import threading
from concurrent.futures import Future

from firebase_admin import App, exceptions, functions
from google.auth.exceptions import GoogleAuthError

from mstoken import Settings
from mstoken.admin import admin_app
from services.billing.dispatcher import BATCH, QueueUnavailable

EMULATOR_VARIABLE = "CLOUD_TASKS_EMULATOR_HOST"
HAND_OVER_SECONDS = 5.0


class FirebaseQueue:
    """The queue of the function `function`: its name, or `locations/{location}/functions/{name}`.

    `app` is firebase-admin's, for the project in the environment if left out. Raises `SettingsError` for an
    environment that cannot work.
    """

    def __init__(self, function: str, app: App | None = None, *, deadline_seconds: float = HAND_OVER_SECONDS) -> None:
        self._function = function
        self._app = app or admin_app(Settings())
        self._deadline_seconds = deadline_seconds
        self._emulated = bool(os.environ.get(EMULATOR_VARIABLE))
        self._free = threading.BoundedSemaphore(BATCH)

    async def hand_over(self, delivery_id: str, task_id: str) -> None:
        """Puts the task to deliver into the queue. That it is there already is no fault. Raises `QueueUnavailable`."""
        if not self._free.acquire(blocking=False):
            raise QueueUnavailable("earlier hand-overs hang")
        answer: Future[None] = Future()
        answer.set_running_or_notify_cancel()

        def work() -> None:
            try:
                self._enqueue(delivery_id, task_id)
            except BaseException as error:
                answer.set_exception(error)
            else:
                answer.set_result(None)
            finally:
                self._free.release()

        # firebase-admin blocks, for up to two minutes. A thread of the event loop's pool would hold up the end of the
        # process for as long; this one is left to itself.
        threading.Thread(target=work, name="hand over", daemon=True).start()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await asyncio.wrap_future(answer)
        except TimeoutError:
            raise QueueUnavailable("the queue does not answer in time") from None
        except (exceptions.FirebaseError, GoogleAuthError, ValueError) as error:
            # Its ValueErrors stand for credentials that cannot be had and answers that cannot be read.
            raise QueueUnavailable(type(error).__name__) from error

    def _enqueue(self, delivery_id: str, task_id: str) -> None:
        # The Admin SDK for Python sends what it is given; the function expects what a callable one gets, in `data`.
        task = {"data": {"delivery_id": delivery_id}}
        # The emulator repeats a task's own name as it is, and firebase-admin, which expects a slash before it there,
        # cuts off its first letter and then cannot read it.
        options = None if self._emulated else functions.TaskOptions(task_id=task_id)
        try:
            functions.task_queue(self._function, app=self._app).enqueue(task, options)
        except (exceptions.AlreadyExistsError, exceptions.ConflictError):
            return
