"""Spent ids in Firestore, for functions and services that have nothing else to rent."""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import firestore
from typing_extensions import override

from mstoken.admin_credentials import DefaultCredentials
from mstoken.blocking import call_blocking
from mstoken.callee.replay.store import ReplayStore, check_is_remembered
from mstoken.errors import SettingsError, StoreIsNew, VerifierUnavailable
from mstoken.per_process import PerProcess
from mstoken.settings import DEMO_PREFIX
from mstoken.wire import CLOCK_SKEW_SECONDS

COLLECTION = "mstoken_spent_ids"
MEMORY = "memory"
"""The document that tells since when the memory is complete. The names of all others are hashes."""
DEFAULT_DATABASE = "(default)"
EMULATOR_VARIABLE = "FIRESTORE_EMULATOR_HOST"
TIMEOUT_SECONDS = 2.0
"""How long to wait for one answer."""
DEADLINE_SECONDS = 6.0
"""How long a call may take, with a second attempt."""
LATEST_TIME = 253_402_300_799.0
"""The last second of the year 9999, in seconds since the epoch. Firestore knows no later time."""

_AMBIGUOUS = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.Aborted,
    exceptions.Unknown,
)
"""Errors after which a document may have been created or not."""


class FirestoreReplayStore(ReplayStore):
    """Spent ids in a collection of Firestore that all instances share. Firestore deletes expired ids (TTL policy).

    To spend an id is to create a document, which Firestore does once. Then the document `memory` is read. If it is
    missing, the collection was emptied, and the memory begins now. So a call makes two requests, one after the other:
    what was deleted before the first one is noticed by the second.

    The value of an id has a random mark of the call that spent it. If an answer is lost, the document is created once
    more. If it exists with this call's own mark by then, this call spent the id.

    The client of Firestore blocks, so it runs in threads, for any number of event loops. A forked child makes its own.
    """

    def __init__(
        self,
        project_id: str,
        database: str = DEFAULT_DATABASE,
        *,
        clock_skew_seconds: float = CLOCK_SKEW_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` returns seconds since the epoch.

        Ids that were issued up to `clock_skew_seconds` after the memory began are refused too. Raises `SettingsError`
        if the emulator's variable is set and the project may be a real one.
        """
        if os.environ.get(EMULATOR_VARIABLE) and not project_id.startswith(DEMO_PREFIX):
            raise SettingsError(
                f"{EMULATOR_VARIABLE} is set, and GOOGLE_CLOUD_PROJECT is {project_id!r}: with the emulator, the "
                f"project id must begin with {DEMO_PREFIX!r}. In production unset {EMULATOR_VARIABLE}."
            )
        self._clock_skew_seconds = clock_skew_seconds
        self._clock = clock
        self._client = PerProcess(lambda: _make_client(project_id, database))

    @override
    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        now = self._clock()
        name = hashlib.sha256(one_time_id.encode()).hexdigest()
        expiry = datetime.fromtimestamp(min(expires_at, LATEST_TIME), UTC)
        content = {"mark": secrets.token_bytes(8), "expires_at": expiry}

        def spend() -> bool:
            ids = self._client.get().collection(COLLECTION)
            is_first_use = _create_once(ids.document(name), content)
            newest_refused = self._complete_since(ids.document(MEMORY), now) + self._clock_skew_seconds
            if issued_at > newest_refused:
                return is_first_use
            if is_first_use:
                ids.document(name).delete(retry=None, timeout=TIMEOUT_SECONDS)  # A refused call spends nothing.
            raise StoreIsNew(newest_refused, now)

        return bool(await self._in_thread(spend))

    @override
    async def ready(self) -> str | None:
        """Check that Firestore answers. It only reads, since Firestore has a price for each document that is written.

        Otherwise as `ReplayStore.ready`.
        """
        now = self._clock()
        complete_since = await self._in_thread(
            lambda: self._complete_since(self._client.get().collection(COLLECTION).document(MEMORY), now)
        )
        check_is_remembered(int(now), complete_since, self._clock_skew_seconds, now)
        return None

    @override
    async def aclose(self) -> None:
        """Leave the client. It ends with the last call that uses it."""
        self._client.pop()

    def _complete_since(self, memory: firestore.DocumentReference, now: float) -> float:
        """Return since when the memory is complete, in seconds since the epoch. Begin it if there is none."""
        for _ in range(3):
            found = memory.get(retry=None, timeout=TIMEOUT_SECONDS)
            # The later time counts: this call may have waited since it read its clock.
            latest = max(now, found.read_time.timestamp())
            content = {"complete_since": latest}
            try:
                if not found.exists:
                    memory.create(content, retry=None, timeout=TIMEOUT_SECONDS)
                    continue
                complete_since = float(found.get("complete_since"))
                # A time in the future is from a clock that was set back. The memory begins now at the latest.
                if complete_since <= latest + self._clock_skew_seconds:
                    return complete_since
                unchanged = firestore.Client.write_option(last_update_time=found.update_time)
                memory.update(content, option=unchanged, retry=None, timeout=TIMEOUT_SECONDS)
            except (exceptions.Conflict, exceptions.FailedPrecondition, exceptions.NotFound):
                continue  # Another call has changed it at this moment.
        raise VerifierUnavailable("The memory of the spent ids in Firestore is lost again and again.")

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        try:
            return await call_blocking(work, deadline_seconds=DEADLINE_SECONDS)
        except TimeoutError:
            raise VerifierUnavailable(f"Firestore did not answer within {DEADLINE_SECONDS:g} s.") from None
        except (exceptions.GoogleAPIError, GoogleAuthError) as error:
            raise VerifierUnavailable(
                f"The Firestore of spent ids cannot be used ({type(error).__name__}: {error})."
            ) from error


def _create_once(document: firestore.DocumentReference, content: Mapping[str, Any]) -> bool:
    """Create a document. Return False if another call has created it."""
    try:
        document.create(dict(content), retry=None, timeout=TIMEOUT_SECONDS)
    except exceptions.AlreadyExists:
        return False
    except _AMBIGUOUS:
        pass
    else:
        return True
    try:
        document.create(dict(content), retry=None, timeout=TIMEOUT_SECONDS)
    except exceptions.AlreadyExists:
        found = document.get(["mark"], retry=None, timeout=TIMEOUT_SECONDS)
        return bool(found.exists and found.get("mark") == content["mark"])
    return True


def _make_client(project_id: str, database: str) -> firestore.Client:
    is_emulator = bool(os.environ.get(EMULATOR_VARIABLE))
    credentials = AnonymousCredentials() if is_emulator else DefaultCredentials().get_credential()
    return firestore.Client(project=project_id, credentials=credentials, database=database)
