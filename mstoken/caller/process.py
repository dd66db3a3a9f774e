"""The tokens of one process, its key, and the background thread in which it signs in."""

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 - registers its own exit hook, which must be there before ours
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from functools import partial

from mstoken import strict_jwt, telemetry
from mstoken.background import Background
from mstoken.caller.bound import BoundToken
from mstoken.caller.connections import Connections
from mstoken.caller.fresh import FreshTokens
from mstoken.caller.minting import Minter
from mstoken.caller.signin import SignIn
from mstoken.claims import ServiceClaims, log_name, service_name, service_uid, token_mode
from mstoken.errors import SignInError, SignInRefused, SignInUnavailable
from mstoken.log_events import log_event
from mstoken.per_process import PerProcess
from mstoken.proof import ProofKey
from mstoken.wire import SERVICE_CLAIM, Mode

SIGN_IN_SECONDS = 10.0
"""Maximum time for one sign-in with its retries. So one that hangs is over before its callers give up."""
WAIT_AFTER_FAILURE_SECONDS = 2.0
"""How long a call waits for a sign-in if the last one found no answer. This keeps an outage from filling a service with
calls that wait; sign-ins in the background have the whole time."""
FAILING_SECONDS = 30.0
"""How long after a failure calls wait for this shorter time."""

_log = logging.getLogger("mstoken.tokens")


class ProcessTokens:
    """The tokens and the key of one process. A forked child must not use them: a fresh token is accepted once."""

    def __init__(
        self,
        service: str,
        minter: Minter,
        sign_in: SignIn,
        *,
        connections: Connections,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        sign_in_seconds: float = SIGN_IN_SECONDS,
        wait_after_failure_seconds: float = WAIT_AFTER_FAILURE_SECONDS,
    ) -> None:
        """`clock` returns seconds since the epoch. The `connections` are closed with this object.

        A sign-in takes at most `sign_in_seconds`. After a failed one, a call waits for `wait_after_failure_seconds`.
        """
        self.key = ProofKey()
        self._service = service
        self._minter = minter
        self._sign_in = sign_in
        self._connections = connections
        self._clock = clock
        self._sleep = sleep
        self._sign_in_seconds = sign_in_seconds
        self._wait_after_failure_seconds = wait_after_failure_seconds
        self._failed_at: float | None = None
        """When the last sign-in found no answer; None if it succeeded."""
        self._fresh: dict[str, FreshTokens] = {}
        self._bound: dict[str, BoundToken] = {}
        self._ahead_of_need: set[asyncio.Task[None]] = set()
        self._background = Background(f"mstoken {service}")
        _open.get().add(self)
        telemetry.observe(telemetry.STOCK, self, ProcessTokens._stocks)

    def take(self, audience: str, mode: Mode) -> str | None:
        """Return a token for `audience` if there is one. Raise ValueError for an unknown mode or an invalid name."""
        if token_mode(mode) == "proof":
            return self._bound_token(audience).current()
        stock = self._fresh_tokens(audience)
        token = stock.take()
        if number := stock.start_sign_ins():
            self._background.call_soon(lambda: self._fill(audience, stock, number))
        return token

    def sign_in(self, audience: str, mode: Mode) -> "Future[str]":
        """Return the future of a new token for `audience`. `close` cancels it. Raise ValueError as `take` does."""
        if token_mode(mode) == "proof":
            return self._background.submit(self._for_a_call(self._bound_token(audience).get))
        service_name(audience)
        return self._background.submit(self._for_a_call(lambda: self._sign_in_fresh(audience)))

    def refused(self, audience: str, mode: Mode, token: str, *, is_revoked: bool) -> bool:
        """Note that `audience` no longer accepts `token`. Return whether it may accept a new one.

        With `is_revoked`, the tokens in stock, which were minted at about the same time, are thrown away.
        """
        if token_mode(mode) == "proof":
            return self._bound_token(audience).refused(token, is_revoked=is_revoked)
        return not is_revoked or self._fresh_tokens(audience).revoked(_minted_at(token))

    def close(self) -> None:
        """End the background thread, and close the connections to Firebase."""
        _open.get().discard(self)
        self._background.close(self._connections.aclose())

    def _stocks(self) -> Iterator[tuple[float, telemetry.Attributes]]:
        for audience, stock in list(self._fresh.items()):
            yield stock.in_stock(), {telemetry.CALLER: service_uid(self._service), telemetry.AUDIENCE: audience}

    def _fresh_tokens(self, audience: str) -> FreshTokens:
        tokens = self._fresh.get(audience)
        if tokens is not None:
            return tokens
        # If several threads come here at the same time, they all get the object of the first one.
        return self._fresh.setdefault(service_name(audience), FreshTokens(self._clock))

    def _bound_token(self, audience: str) -> BoundToken:
        token = self._bound.get(audience)
        if token is not None:
            return token
        service_name(audience)
        token = BoundToken(audience, lambda: self._sign_in_bound(audience), clock=self._clock, sleep=self._sleep)
        return self._bound.setdefault(audience, token)

    def _fill(self, audience: str, stock: FreshTokens, number: int) -> None:
        for _ in range(number):
            task = asyncio.create_task(self._put_one(audience, stock), name=f"mstoken fresh token for {audience}")
            self._ahead_of_need.add(task)
            task.add_done_callback(self._ahead_of_need.discard)

    async def _put_one(self, audience: str, stock: FreshTokens) -> None:
        telemetry.begin_new_trace()  # Which call will use the token is not known yet.
        began_at = self._clock()
        try:
            token = await self._sign_in_fresh(audience)
        except SignInError as error:
            stock.fail(retry_after_seconds=error.retry_after_seconds)
            self._log_failure(logging.WARNING, audience, error.reason)
        except Exception:  # A defect must not end the stocking: without `fail`, the stock would wait for this sign-in.
            stock.fail(retry_after_seconds=0.0)
            self._log_failure(logging.ERROR, audience, "a defect", with_traceback=True)
        else:
            stock.put(token, signed_in_at=began_at, took_seconds=self._clock() - began_at)

    def _log_failure(self, level: int, audience: str, reason: str, *, with_traceback: bool = False) -> None:
        message = f"no token ahead of need for {audience}: {reason}"
        facts = {"audience": audience, "error": reason}
        log_event(_log, level, "no token ahead of need", message, exc_info=with_traceback or None, **facts)

    async def _for_a_call(self, sign_in: Callable[[], Awaitable[str]]) -> str:
        """Return what `sign_in` returns, which a call waits for. Raise `SignInUnavailable` when its time is over."""
        is_failing = self._failed_at is not None and 0 <= self._clock() - self._failed_at < FAILING_SECONDS
        seconds = self._wait_after_failure_seconds if is_failing else self._sign_in_seconds
        try:
            async with asyncio.timeout(seconds):
                return await sign_in()
        except TimeoutError:
            raise self._no_answer_within(seconds) from None

    def _no_answer_within(self, seconds: float) -> SignInUnavailable:
        return SignInUnavailable(service_uid(self._service), f"there was no answer within {seconds:g} s")

    async def _sign_in_fresh(self, audience: str) -> str:
        claims = ServiceClaims.fresh(self._service, service_name(audience), minted_at=self._clock())
        return await self._mint_and_sign_in(claims)

    async def _sign_in_bound(self, audience: str) -> str:
        thumbprint = self.key.thumbprint
        claims = ServiceClaims.bound(self._service, service_name(audience), thumbprint, minted_at=self._clock())
        return await self._mint_and_sign_in(claims)

    async def _mint_and_sign_in(self, claims: ServiceClaims) -> str:
        with telemetry.measure(telemetry.SIGN_IN, partial(_attributes, claims)):
            return await self._mint_and_exchange(claims)

    async def _mint_and_exchange(self, claims: ServiceClaims) -> str:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._sign_in_seconds):
                custom_token = await self._minter.mint(self._connections, claims)
                minted = time.perf_counter()
                token = await self._sign_in.exchange(self._connections, claims.uid, custom_token)
        except (TimeoutError, SignInUnavailable) as error:
            self._failed_at = self._clock()
            if isinstance(error, SignInUnavailable):
                raise
            raise self._no_answer_within(self._sign_in_seconds) from None
        self._failed_at = None
        custom_token_ms = round((minted - began) * 1000, 1)
        sign_in_ms = round((time.perf_counter() - minted) * 1000, 1)
        stock = self._fresh.get(claims.audience) if claims.mode == "fresh" else None
        log_event(
            _log,
            logging.INFO,
            "signed in",
            f"signed in as {claims.uid} for {claims.audience}, {claims.mode}, in {custom_token_ms + sign_in_ms:.1f} ms",
            audience=claims.audience,
            mode=claims.mode,
            custom_token_ms=custom_token_ms,
            sign_in_ms=sign_in_ms,
            token=log_name(token),
            # Without this one. It tells how many tokens there are without a record for each that is taken.
            in_stock=stock.in_stock() if stock is not None else None,
        )
        return token


def _minted_at(token: str) -> float:
    """Return when a token was minted, by the signer's clock. It is not verified: the callee has done that."""
    return strict_jwt.seconds(strict_jwt.unverified(token).payload[SERVICE_CLAIM], "iat")


def _attributes(claims: ServiceClaims, error: BaseException | None) -> telemetry.Attributes:
    """Return what is told about a sign-in that ended with `error`."""
    attributes = {telemetry.CALLER: claims.uid, telemetry.AUDIENCE: claims.audience, telemetry.MODE: claims.mode}
    match error:
        case None:
            return attributes | {telemetry.VERDICT: "accepted"}
        case SignInRefused():
            return attributes | {telemetry.VERDICT: "refused", telemetry.ERROR_TYPE: telemetry.error_type(error)}
        case SignInUnavailable():
            return attributes | {telemetry.VERDICT: "unavailable", telemetry.ERROR_TYPE: telemetry.error_type(error)}
    return attributes | {telemetry.VERDICT: "failed", telemetry.ERROR_TYPE: telemetry.error_type(error)}


_open: PerProcess[set[ProcessTokens]] = PerProcess(set)


def _close_all() -> None:
    """Close what the program has not closed, so that no sign-in fails and no connection is reported as unclosed."""
    for tokens in list(_open.get()):
        tokens.close()


# The hooks of `atexit` run too late: thread pools, which signing in uses, have ended by then. The private hook is the
# one with which `concurrent.futures` ends those pools, and it runs in reverse order. If it is ever removed, `atexit`
# ends the program correctly too, but may log an error of a sign-in that was under way.
getattr(threading, "_register_atexit", atexit.register)(_close_all)
