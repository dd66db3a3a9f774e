"""The log of calls: one record for each call that is verified, in the logger `mstoken.calls`."""

import logging
import time
from collections.abc import Callable

from mstoken import strict_jwt, telemetry
from mstoken.callee.callers import Call, Caller, ServiceCaller
from mstoken.claims import log_name
from mstoken.errors import Refusal, VerifierUnavailable
from mstoken.log_events import log_event

_log = logging.getLogger("mstoken.calls")


class CallRecord:
    """The record of one call: who called which service, in which mode, and the verdict.

    Its message is such a line: "call svc:billing → product fresh token_replayed".

    Tokens appear as the first eight characters of their SHA-256 only. `verify_ms` is how long the verification took, in
    milliseconds, from the first check to the spending of the id.
    """

    def __init__(self, audience: str, call: Call, timer: Callable[[], float] = time.perf_counter) -> None:
        """Begin the record when the verification begins. `timer` returns seconds, as `time.perf_counter` does."""
        self.caller: Caller | None = None
        """The caller, as soon as it is known."""
        self._audience = audience
        self._call = call
        self._timer = timer
        self._began = timer()

    def write(self, now: float, refusal: Refusal | None = None) -> None:
        """Write the record at `now`, seconds since the epoch. The verdict is the code of `refusal`, or "accepted"."""
        level = logging.INFO if refusal is None else logging.WARNING
        if not _log.isEnabledFor(level):
            return
        caller, mode, verdict = self.caller, self._mode(), refusal.code if refusal else "accepted"
        # The answer does not contain the reason, because it is for operators only.
        reason = refusal.reason if isinstance(refusal, VerifierUnavailable) else None
        user = caller.user if isinstance(caller, ServiceCaller) else None
        acting_for = f" for {user}" if user else ""
        message = f"call {caller or 'unknown'}{acting_for} → {self._audience} {mode} {verdict}"
        log_event(
            _log,
            level,
            "call",
            f"{message}: {reason}" if reason else message,
            caller=str(caller) if caller else None,
            user=str(user) if user else None,
            audience=self._audience,
            mode=mode,
            age_seconds=round(now - caller.issued_at, 1) if caller else None,
            one_time_id=caller.one_time_id if isinstance(caller, ServiceCaller) else None,
            token=self._token_name(),
            verdict=verdict,
            verify_ms=round((self._timer() - self._began) * 1000, 2),
            reason=reason,
        )

    def attributes(self, error: BaseException | None) -> telemetry.Attributes:
        """Return what a span and the metrics tell about the call, whose verification ended with `error`.

        Of a user they tell nothing: the log has what operators need, and more people see traces and metrics.
        """
        found = {telemetry.AUDIENCE: self._audience, telemetry.MODE: self._mode()}
        if self.caller is not None:
            found[telemetry.CALLER] = self.caller.uid if isinstance(self.caller, ServiceCaller) else "user"
        match error:
            case None:
                return found | {telemetry.VERDICT: "accepted"}
            case VerifierUnavailable():
                unavailable = {telemetry.VERDICT: "unavailable", telemetry.CODE: error.code}
                return found | unavailable | {telemetry.ERROR_TYPE: error.code}
            case Refusal():
                return found | {telemetry.VERDICT: "refused", telemetry.CODE: error.code}
        return found | {telemetry.VERDICT: "failed", telemetry.ERROR_TYPE: telemetry.error_type(error)}

    def _mode(self) -> str:
        if not self._call.service_tokens:
            return "user"
        if isinstance(self.caller, ServiceCaller):
            return self.caller.mode
        return "proof" if self._call.proofs else "fresh"

    def _token_name(self) -> str | None:
        lines = self._call.service_tokens or self._call.authorizations
        return log_name(lines[0].strip(strict_jwt.OPTIONAL_WHITESPACE).rpartition(" ")[2]) if lines else None
