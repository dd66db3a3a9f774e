"""Fakes for the token service."""

from mstoken.callee.certificates import Fetched
from mstoken.emulator.keys import Key


class FakeSource:
    """Publishes the certificates of `keys`. It fails while `error` is set. `fetches` counts the requests."""

    def __init__(self, *keys: Key) -> None:
        self.keys = list(keys)
        self.error: Exception | None = None
        self.fetches = 0

    async def fetch(self) -> Fetched:
        self.fetches += 1
        if self.error:
            raise self.error
        return Fetched({key.key_id: key.certificate for key in self.keys}, 3_600)
