"""A replay store that keeps ids for exactly as long as it must."""

from collections.abc import Callable

from typing_extensions import override

from mstoken.callee.replay.store import ReplayStore


class ForgetfulReplayStore(ReplayStore):
    """Deletes each id at the first moment at which a store may. The real stores keep ids a little longer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._expires_at: dict[str, float] = {}

    @override
    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        if one_time_id in self._expires_at and self._clock() <= self._expires_at[one_time_id]:
            return False
        self._expires_at[one_time_id] = expires_at
        return True

    @override
    async def ready(self) -> str | None:
        return None

    @override
    async def aclose(self) -> None:
        pass
