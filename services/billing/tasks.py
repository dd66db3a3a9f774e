"""The task queue of the function `deliver`: Cloud Tasks, or the tasks emulator on a laptop."""

import asyncio
import os
import threading
from concurrent.futures import Future

from firebase_admin import App, exceptions, functions
from google.auth.exceptions import GoogleAuthError

from mstoken import Settings
from mstoken.admin import AdminApp
from services.billing.dispatcher import BATCH, QueueUnavailable
from services.common.measures import TRACEPARENT, traceparent

CLOUD_TASKS_EMULATOR_VARIABLE = "CLOUD_TASKS_EMULATOR_HOST"
HAND_OVER_SECONDS = 5.0
"""Maximum time for a hand-over, in seconds."""


class FirebaseQueue:
    """The queue of a function. `function` is its name, or `locations/{location}/functions/{name}`.

    `app` is an app of firebase-admin; by default one for the project in the environment. Raises `SettingsError` if the
    environment is not valid.
    """

    def __init__(self, function: str, app: App | None = None, *, deadline_seconds: float = HAND_OVER_SECONDS) -> None:
        self._function = function
        self._app = AdminApp(Settings()).get if app is None else lambda: app
        self._deadline_seconds = deadline_seconds
        self._is_emulated = bool(os.environ.get(CLOUD_TASKS_EMULATOR_VARIABLE))
        self._slots = threading.BoundedSemaphore(BATCH)

    async def hand_over(self, delivery_id: str, task_id: str) -> None:
        """Add the task to the queue, unless it is there already. Raises `QueueUnavailable`."""
        if not self._slots.acquire(blocking=False):
            raise QueueUnavailable("too many earlier hand-overs still wait for an answer")
        parent = traceparent()  # Here, because the thread belongs to no trace.
        result: Future[None] = Future()
        result.set_running_or_notify_cancel()

        def work() -> None:
            try:
                self._enqueue(delivery_id, task_id, parent)
            except BaseException as error:
                result.set_exception(error)
            else:
                result.set_result(None)
            finally:
                self._slots.release()

        # firebase-admin blocks for up to two minutes. At its end a process waits for the threads of the event loop's
        # pool, and not for a daemon thread.
        threading.Thread(target=work, name="hand over", daemon=True).start()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await asyncio.wrap_future(result)
        except TimeoutError:
            raise QueueUnavailable(f"the queue did not answer within {self._deadline_seconds} s") from None
        except (exceptions.FirebaseError, GoogleAuthError, ValueError) as error:
            # firebase-admin raises ValueError if it cannot load credentials, or cannot read an answer.
            raise QueueUnavailable(type(error).__name__) from error

    def _enqueue(self, delivery_id: str, task_id: str, parent: str | None) -> None:
        # The Admin SDK for Python sends the body as it is. The function expects it in `data`, as a callable one does.
        task = {"data": {"delivery_id": delivery_id}}
        # A task at the emulator gets no name. The emulator repeats a name as it is, and firebase-admin, which expects a
        # slash before it there, cuts off its first letter and then cannot read it.
        headers = {TRACEPARENT: parent} if parent else None
        options = functions.TaskOptions(task_id=None if self._is_emulated else task_id, headers=headers)
        try:
            functions.task_queue(self._function, app=self._app()).enqueue(task, options)
        except (exceptions.AlreadyExistsError, exceptions.ConflictError):
            return
