"""The parts of a verifier are what its settings say, and are opened and closed together."""

from typing_extensions import override

from mstoken.callee.parts import VerifierParts
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.errors import VerifierUnavailable
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock


class NotedFirebase(FakeFirebase):
    """A Firebase that notes what is done with it in `notes`."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self._notes = notes

    @override
    async def open(self) -> None:
        self._notes.append("Firebase opened")

    @override
    async def aclose(self) -> None:
        self._notes.append("Firebase closed")

    @override
    def ready(self) -> str | None:
        return "The last fetch failed."


class NotedStore(MemoryReplayStore):
    """A replay store that notes what is done with it in `notes`, and that is down."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self._notes = notes

    @override
    async def ready(self) -> str | None:
        self._notes.append("store asked")
        raise VerifierUnavailable("The store is down.")

    @override
    async def aclose(self) -> None:
        self._notes.append("store closed")


def test_the_settings_decide() -> None:
    """Nonces are there if a secret is. What a test passes in is used as it is."""
    firebase, store, clock = FakeFirebase(base_url="https://product.example.com"), MemoryReplayStore(), FakeClock()
    plain = VerifierParts.of("product", firebase.settings(), firebase, store, clock)
    assert (plain.base_url, plain.require_proof, plain.nonces) == ("https://product.example.com", False, None)
    assert (plain.firebase, plain.replay) == (firebase, store)
    strict = firebase.settings(nonce_secret="n" * 32, require_proof=True)
    parts = VerifierParts.of("product", strict, firebase, store, clock)
    assert parts.require_proof
    assert parts.nonces is not None


async def test_they_are_opened_and_closed_together() -> None:
    """An outage of the store does not stop the start. The store is closed last, because calls may still be spent."""
    notes: list[str] = []
    firebase = NotedFirebase(notes)
    parts = VerifierParts.of("product", firebase.settings(), firebase, NotedStore(notes), FakeClock())
    await parts.open()
    assert notes == ["Firebase opened", "store asked"]
    await parts.aclose()
    assert notes[2:] == ["Firebase closed", "store closed"]


async def test_warnings_name_the_part_that_they_are_about() -> None:
    """The part may be told to anyone, the warning is for operators."""
    firebase = NotedFirebase([])
    parts = VerifierParts.of("product", firebase.settings(), firebase, MemoryReplayStore(), FakeClock())
    assert await parts.ready() == ["Certificates: The last fetch failed."]
