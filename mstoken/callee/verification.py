"""The verification of one request: it is made once, and spends once, however many parts of a program ask for it."""

import asyncio
from collections.abc import Iterable
from functools import reduce
from operator import and_

from mstoken.callee.callers import Admission, Call, Caller, ServiceCaller
from mstoken.callee.verifier import TokenVerifier
from mstoken.errors import Refusal


class Verification:
    """The verification of one call. Use it in one event loop.

    The first question verifies the call and spends its id. All others get the same caller, or the same refusal.
    """

    def __init__(self, verifier: TokenVerifier, call: Call) -> None:
        self.call = call
        self._verifier = verifier
        self._outcome: Caller | Refusal | None = None
        self._lock = asyncio.Lock()

    @property
    def next_nonce(self) -> str | None:
        """The nonce that the answer must carry, if the call was verified and its caller should use another one."""
        return self._outcome.next_nonce if isinstance(self._outcome, ServiceCaller) else None

    async def caller(self, admission: Admission, also: Iterable[Admission] = ()) -> Caller:
        """Return the caller, as a part of the program with `admission` sees it.

        `also` are the admissions that other parts will ask for. A call that one of them does not admit is refused
        before its id is spent. Raises the `Refusal` that says what is wrong.
        """
        async with self._lock:
            if self._outcome is None:
                self._outcome = await self._verify(reduce(and_, also, admission))
        if isinstance(self._outcome, Refusal):
            raise self._outcome
        return await self._verifier.admit(admission, self._outcome, self.call)

    async def _verify(self, admission: Admission) -> Caller | Refusal:
        try:
            return await self._verifier.authorize(admission, self.call)
        except Refusal as refusal:
            return refusal
