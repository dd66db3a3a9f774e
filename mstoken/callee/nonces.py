"""Nonces that a callee requires in proofs, so that proofs cannot be made ahead of time (RFC 9449, section 8)."""

import hmac
import struct

from mstoken.strict_jwt import base64url, base64url_decode

NONCE_SECONDS = 300
"""How long a nonce is accepted, in seconds."""
RENEWAL_AGE_SECONDS = NONCE_SECONDS / 2
"""Age from which an accepted nonce is answered with the next one. Callers that go on calling are never refused."""

_TIME = struct.Struct(">Q")
_TAG_BYTES = 16


class Nonces:
    """The nonces of one service. A nonce is a time, and an HMAC of that time with the service's secret.

    So workers need not store nonces, and each worker accepts the nonces of the others.
    """

    def __init__(self, secret: str, audience: str) -> None:
        self._key = hmac.digest(secret.encode(), f"mstoken nonce {audience}".encode(), "sha256")

    def issue(self, now: float) -> str:
        """Return a nonce that is valid from `now` on, seconds since the epoch: 32 characters of base64url."""
        return base64url(self._with_tag(_TIME.pack(int(now))))

    def accepts(self, nonce: str | None, now: float) -> bool:
        """Return whether `nonce` is a nonce of this service that is not too old at `now`, seconds since the epoch."""
        age_seconds = self._age_seconds(nonce, now)
        return age_seconds is not None and age_seconds <= NONCE_SECONDS

    def after(self, nonce: str | None, now: float) -> str | None:
        """Return the nonce to use after `nonce`, which was accepted `now`, or None if it can be used again.

        The caller gets it with the answer to its call (RFC 9449, section 8.2).
        """
        age_seconds = self._age_seconds(nonce, now)
        return self.issue(now) if age_seconds is None or age_seconds >= RENEWAL_AGE_SECONDS else None

    def _age_seconds(self, nonce: str | None, now: float) -> int | None:
        """Return the age of a nonce of this service, or None for another text.

        It is negative if a worker whose clock is ahead made the nonce.
        """
        try:
            value = base64url_decode(nonce or "")
        except ValueError:
            return None
        time = value[: _TIME.size]
        if len(time) != _TIME.size or not hmac.compare_digest(value, self._with_tag(time)):
            return None
        (issued_at,) = _TIME.unpack(time)
        return int(now) - int(issued_at)

    def _with_tag(self, time: bytes) -> bytes:
        return time + hmac.digest(self._key, time, "sha256")[:_TAG_BYTES]
