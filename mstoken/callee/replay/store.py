"""What a replay store promises."""

from typing import Protocol


class ReplayStore(Protocol):
    """Records spent ids. Every method raises `VerifierUnavailable` if the store cannot be reached.

    An id must be kept for as long as the token or proof that carries it could be accepted again.
    """

    async def spend(self, one_time_id: str, expires_at: float) -> bool:
        """Record `one_time_id`. Return True for its first use and False for every later use.

        This is atomic among all processes that share the store. The id may be deleted after `expires_at`, seconds
        since the epoch.
        """
        ...

    async def ready(self) -> None:
        """Check that ids can be spent now."""
        ...

    async def aclose(self) -> None:
        """Close files and connections."""
        ...
