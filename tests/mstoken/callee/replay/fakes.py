"""A replay store that is exact where the real ones are generous."""

from collections.abc import Callable


class ForgetfulReplayStore:
    """Forgets each id at the first moment at which the contract allows it; the real stores keep ids a little longer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._expires_at: dict[str, float] = {}

    async def spend(self, one_time_id: str, expires_at: float) -> bool:
        """See `ReplayStore.spend`."""
        if one_time_id in self._expires_at and self._clock() <= self._expires_at[one_time_id]:
            return False
        self._expires_at[one_time_id] = expires_at
        return True

    async def ready(self) -> None:
        """See `ReplayStore.ready`."""

    async def aclose(self) -> None:
        """See `ReplayStore.aclose`."""
