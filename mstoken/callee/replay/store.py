"""What a replay store promises, and the rule for ids that are older than its memory."""

from typing import Protocol

from mstoken.errors import StoreIsNew


class ReplayStore(Protocol):
    """Records spent ids. Every method raises `VerifierUnavailable` if the store cannot be reached.

    An id must be kept for as long as the token or proof that carries it could be accepted again.

    A store can lose its memory: a process ends, a file is deleted, a Redis is restarted or evicts keys. So every store
    knows since when its memory is complete, and refuses the ids that were issued before, because they may have been
    spent. That way no id is accepted twice, whatever was lost.
    """

    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        """Record `one_time_id`. Return True for its first use and False for every later use.

        This is atomic among all processes that share the store. `issued_at` is the earliest time at which the id can
        have existed. The id may be deleted after `expires_at`. Both are in seconds since the epoch. Raises `StoreIsNew`
        if the id was issued before the memory of the store began.
        """
        ...

    async def ready(self) -> str | None:
        """Check that ids can be spent now. Return a warning, one sentence, or None.

        The memory of a new store begins here, or with the first `spend`. Raises `StoreIsNew` as long as the store would
        refuse an id that is issued now.
        """
        ...

    async def aclose(self) -> None:
        """Close files and connections."""
        ...


def check_is_remembered(issued_at: float, complete_since: float, clock_skew_seconds: float, now: float) -> None:
    """Raise `StoreIsNew` if an id that was issued at `issued_at` may have been spent before `complete_since`.

    `complete_since` is when the memory of the store began. All times are in seconds since the epoch. The clock of the
    issuer may be `clock_skew_seconds` ahead of the clock that `complete_since` is from.
    """
    newest_refused = complete_since + clock_skew_seconds
    if issued_at <= newest_refused:
        raise StoreIsNew(newest_refused, now)
