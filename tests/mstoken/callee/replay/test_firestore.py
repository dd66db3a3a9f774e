"""The store in Firestore. The tests start an emulator of their own, which is not Google's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError
from google.cloud import firestore

from mstoken.callee.replay.firestore import COLLECTION, EMULATOR_VARIABLE, MEMORY, TIMEOUT_SECONDS, FirestoreReplayStore
from mstoken.errors import SettingsError, StoreIsNew, VerifierUnavailable
from mstoken.wire import CLOCK_SKEW_SECONDS
from tests.clock import FakeClock
from tests.firestore_server import FirestoreServer
from tests.mstoken.callee.replay.test_store import (
    SharedReplayStoreContract,
    begin,
    lost_memory_is_noticed,
    replays_that_pass,
    spend,
)
from tests.mstoken.test_settings import environment

PROJECT = "demo-shop"
AHEAD_OF_THE_SERVER = 4_000_000_000.0


def test_the_emulator_is_for_demo_projects_only() -> None:
    """A process of a real project does not keep its ids in an emulator by mistake."""
    with (
        environment(**{EMULATOR_VARIABLE: "127.0.0.1:8080"}),
        pytest.raises(SettingsError, match=r"must begin with 'demo-'.*unset FIRESTORE_EMULATOR_HOST"),
    ):
        FirestoreReplayStore("real-shop")


@pytest.fixture
def clock() -> FakeClock:
    """A clock far ahead of that of the server, whose time does not count then."""
    return FakeClock(AHEAD_OF_THE_SERVER)


@pytest.fixture
async def new_store(address: str, clock: FakeClock) -> AsyncIterator[FirestoreReplayStore]:
    store = FirestoreReplayStore(PROJECT, clock=clock)
    yield store
    await store.aclose()


@pytest.fixture
async def store(new_store: FirestoreReplayStore, clock: FakeClock) -> FirestoreReplayStore:
    """A store whose memory began a minute ago."""
    await begin(new_store)
    clock.advance(60)
    return new_store


def documents() -> firestore.CollectionReference:
    """Return the collection with the ids, as another program sees it."""
    return firestore.Client(project=PROJECT, credentials=AnonymousCredentials()).collection(COLLECTION)


def delete_the_memory() -> None:
    documents().document(MEMORY).delete()


class TestFirestoreReplayStore(SharedReplayStoreContract):
    """The store in Firestore."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock(AHEAD_OF_THE_SERVER)

    @pytest.fixture
    def address(self, firestore_server: FirestoreServer) -> Iterator[str]:
        firestore_server.clear()
        with environment(**{EMULATOR_VARIABLE: firestore_server.address}):
            yield firestore_server.address

    @pytest.fixture
    def url(self, address: str) -> str:
        return "firestore:"

    async def test_firestore_is_emptied(
        self, store: FirestoreReplayStore, firestore_server: FirestoreServer, clock: FakeClock
    ) -> None:
        """Ids that were issued before are refused, those that are issued later are accepted once."""
        await lost_memory_is_noticed(store, clock, firestore_server.clear)

    async def test_the_memory_is_deleted(self, store: FirestoreReplayStore, clock: FakeClock) -> None:
        """It begins anew, as an administrator may want after a backup was restored."""
        await lost_memory_is_noticed(store, clock, delete_the_memory)

    async def test_what_firestore_keeps(self, store: FirestoreReplayStore, clock: FakeClock) -> None:
        """The name of a document is a hash. The field of the TTL policy is a timestamp."""
        await spend(store, "one", clock, seconds=70)
        (found,) = [document for document in documents().stream() if document.id != MEMORY]
        assert len(found.id) == 64
        content = found.to_dict() or {}
        assert content.keys() == {"mark", "expires_at"}
        assert content["expires_at"].timestamp() == clock() + 70

    async def test_an_expiry_after_the_year_9999(self, store: FirestoreReplayStore) -> None:
        """Such an id is kept for as long as Firestore can."""
        assert await store.spend("late", issued_at=1e12, expires_at=1e12) is True
        assert await store.spend("late", issued_at=1e12, expires_at=1e12) is False

    async def test_a_refused_id_is_not_spent(self, new_store: FirestoreReplayStore, clock: FakeClock) -> None:
        """Its document is deleted, so that the same id counts when its memory is complete."""
        with pytest.raises(StoreIsNew):
            await spend(new_store, "one", clock)
        assert [document.id for document in documents().stream()] == [MEMORY]

    async def test_the_memory_begins_when_firestore_answers(self, address: str) -> None:
        """A call that waited before that does not date the memory back to before it was lost."""
        store = FirestoreReplayStore(PROJECT, clock=FakeClock(1_000_000_000.0))
        with pytest.raises(StoreIsNew) as caught:
            await store.ready()
        assert caught.value.accepts_from > 1_010_000_000
        await store.aclose()

    @pytest.mark.parametrize("is_lost_before", [True, False])
    @pytest.mark.parametrize("error", [exceptions.ServiceUnavailable, exceptions.DeadlineExceeded, exceptions.Aborted])
    async def test_a_lost_request_or_answer_does_not_refuse_the_call(
        self,
        store: FirestoreReplayStore,
        clock: FakeClock,
        monkeypatch: pytest.MonkeyPatch,
        error: Callable[[str], Exception],
        is_lost_before: bool,
    ) -> None:
        """The document is created once more, or has this call's own mark, so the spend succeeds; the next does not."""
        create, failures = firestore.DocumentReference.create, iter([error("lost")])

        def lose(document: Any, *arguments: Any, **options: Any) -> Any:
            failure = next(failures, None)
            answer = create(document, *arguments, **options) if failure is None or not is_lost_before else None
            if failure:
                raise failure
            return answer

        monkeypatch.setattr(firestore.DocumentReference, "create", lose)
        assert await spend(store, "lost", clock) is True
        assert await spend(store, "lost", clock) is False

    async def test_an_id_that_another_call_spends_while_an_answer_is_lost(
        self, store: FirestoreReplayStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The document has the mark of the other call, so this call has not spent the id."""
        create, failures = firestore.DocumentReference.create, iter([exceptions.ServiceUnavailable("lost")])

        def let_another_call_pass(document: Any, content: Any, **options: Any) -> Any:
            if failure := next(failures, None):
                create(document, content | {"mark": b"another"}, **options)
                raise failure
            return create(document, content, **options)

        monkeypatch.setattr(firestore.DocumentReference, "create", let_another_call_pass)
        assert await spend(store, "contested", clock) is False

    @pytest.mark.parametrize(
        "error",
        [exceptions.PermissionDenied("no role"), exceptions.ResourceExhausted("quota"), RefreshError("no token")],
    )
    async def test_an_error_of_google_is_an_outage(
        self, store: FirestoreReplayStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        """The error names its kind, and nothing is accepted."""

        def fail(*_arguments: Any, **_options: Any) -> Any:
            raise error

        monkeypatch.setattr(firestore.DocumentReference, "create", fail)
        with pytest.raises(VerifierUnavailable, match=f"cannot be used .{type(error).__name__}"):
            await spend(store, "one", clock)


class TestFirestoreOutages:
    """The store while its emulator fails."""

    @pytest.fixture
    def address(self, own_firestore: FirestoreServer) -> Iterator[str]:
        with environment(**{EMULATOR_VARIABLE: own_firestore.address}):
            yield own_firestore.address

    async def test_a_restart_of_the_emulator(
        self, store: FirestoreReplayStore, own_firestore: FirestoreServer, clock: FakeClock
    ) -> None:
        """It has forgotten everything. While it is down, nothing is accepted; later the store works again by itself."""
        issued_at = clock()
        assert await spend(store, "one", clock) is True
        clock.advance(2)
        own_firestore.kill()
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await spend(store, "two", clock)
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await store.ready()
        own_firestore.start()
        async with asyncio.timeout(30):
            while True:
                assert await replays_that_pass(store, ["one", "unused"], issued_at, clock) == []
                try:
                    await store.ready()
                except StoreIsNew:
                    break
                except VerifierUnavailable:  # gRPC tries to connect again after a pause.
                    await asyncio.sleep(0.05)
        clock.advance(CLOCK_SKEW_SECONDS + 1)
        assert await replays_that_pass(store, ["one", "unused"], issued_at, clock) == []
        assert await store.ready() is None
        assert await spend(store, "two", clock) is True

    async def test_a_hanging_firestore_is_an_outage(
        self, store: FirestoreReplayStore, own_firestore: FirestoreServer, clock: FakeClock
    ) -> None:
        """The spend fails after a few seconds at most."""
        own_firestore.hang()
        async with asyncio.timeout(4 * TIMEOUT_SECONDS):
            with pytest.raises(VerifierUnavailable):
                await spend(store, "one", clock)


async def test_without_credentials_the_store_cannot_be_used(tmp_path: Any) -> None:
    """The error says what is missing, and no call is accepted."""
    with environment(GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "missing.json")):
        store = FirestoreReplayStore("real-shop")
        for call in (store.ready(), store.spend("one", issued_at=1e12, expires_at=1e12)):
            with pytest.raises(VerifierUnavailable, match="DefaultCredentialsError"), suppress(SettingsError):
                await call
