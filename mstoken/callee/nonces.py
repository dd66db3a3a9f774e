"""Nonces that a callee wants in proofs, so that none can be made ahead of time (RFC 9449, section 8)."""

import hmac
import struct

from mstoken.strict_jwt import base64url, base64url_decode

NONCE_SECONDS = 300
"""For how long a nonce counts."""

_TIME = struct.Struct(">Q")
_TAG_BYTES = 16


class Nonces:
    """Nonces of one service: a time, and a tag over it that only holders of the secret can make.

    So no worker remembers any, and each accepts those of the others.
    """

    def __init__(self, secret: str, audience: str) -> None:
        self._key = hmac.digest(secret.encode(), f"mstoken nonce {audience}".encode(), "sha256")

    def issue(self, now: float) -> str:
        """A nonce that counts from `now` on, seconds since the epoch; 32 characters of base64url."""
        return base64url(self._tagged(_TIME.pack(int(now))))

    def accepts(self, nonce: str | None, now: float) -> bool:
        """Whether `nonce` is one of this service's, and not too old."""
        try:
            value = base64url_decode(nonce or "")
        except ValueError:
            return False
        time = value[: _TIME.size]
        if len(time) != _TIME.size or not hmac.compare_digest(value, self._tagged(time)):
            return False
        # One from a little in the future is of a worker whose clock is ahead.
        (issued_at,) = _TIME.unpack(time)
        return bool(int(now) - issued_at <= NONCE_SECONDS)

    def _tagged(self, time: bytes) -> bytes:
        return time + hmac.digest(self._key, time, "sha256")[:_TAG_BYTES]
