"""The verification of one request: it is made once, and spends once, however many parts of a program ask for it."""

import asyncio
from collections.abc import Iterable, MutableMapping
from functools import reduce
from operator import and_
from typing import Any

from mstoken.callee.callers import Admission, Call, Caller, ServiceCaller
from mstoken.callee.verifier import TokenVerifier
from mstoken.errors import Refusal
from mstoken.problem import Problem, ProblemAnswer, problem_answer
from mstoken.wire import NONCE_HEADER

_KEY = "mstoken.verification"
"""The member of a WSGI environment or of an ASGI scope that has the `Verification` of a request."""


class Verification:
    """The verification of one call. Use it in one event loop.

    The first question verifies the call and spends its id. All others get the same caller, or the same refusal.
    """

    def __init__(self, verifier: TokenVerifier, call: Call) -> None:
        self.call = call
        self.verifier = verifier
        self._outcome: Caller | Refusal | None = None
        self._admitted: dict[Admission, Caller] = {}
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
        caller = await self.verifier.admit(admission, self._outcome, self.call)
        self._admitted[admission] = caller
        return caller

    def known_caller(self, admission: Admission) -> Caller | None:
        """Return what `caller` has returned for this admission, or None. This needs no event loop."""
        return self._admitted.get(admission)

    async def _verify(self, admission: Admission) -> Caller | Refusal:
        try:
            return await self.verifier.authorize(admission, self.call)
        except Refusal as refusal:
            return refusal


def checked_verifier(verifier: object) -> TokenVerifier:
    """Return `verifier`. Raise TypeError if it is not a `TokenVerifier`, such as the name of the service."""
    if isinstance(verifier, TokenVerifier):
        return verifier
    raise TypeError(f"the verifier must be a TokenVerifier, such as TokenVerifier('product'), not {verifier!r}")


class RequestVerifier:
    """A verifier with what web applications need beside it: one verification for each request, and the answers.

    A request is what its framework has of it: a WSGI environment or an ASGI scope. The verification is kept there.
    """

    def __init__(self, verifier: TokenVerifier) -> None:
        """`verifier` may be made by a module: making it reads nothing. Raises TypeError if it is something else."""
        self.verifier = checked_verifier(verifier)

    def replace(self, verifier: TokenVerifier) -> None:
        """Use another verifier from now on, for tests."""
        self.verifier = checked_verifier(verifier)

    def verification(self, request: MutableMapping[str, Any], call: Call) -> Verification:
        """Return the verification of this request, the same one for all who ask.

        A program can make another request of the parts of this one. That is another call.
        """
        kept = request.get(_KEY)
        if isinstance(kept, Verification) and kept.verifier is self.verifier and kept.call == call:
            return kept
        made = request[_KEY] = Verification(self.verifier, call)
        return made

    def headers(self, request: MutableMapping[str, Any]) -> dict[str, str]:
        """Return the header fields for the answer to a request, whatever it is.

        It is the next nonce, if the caller should use another one (RFC 9449, section 8.2).
        """
        kept = request.get(_KEY)
        nonce = kept.next_nonce if isinstance(kept, Verification) else None
        return {} if nonce is None else {NONCE_HEADER: nonce}

    def answer(self, problem: Problem) -> ProblemAnswer:
        """Return the answer to a request that failed with `problem`: a refusal, or an error of the application."""
        return problem_answer(problem, self.verifier.audience)
