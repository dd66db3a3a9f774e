"""Verification of ID tokens by firebase-admin, with certificates from memory.

`GivenVerification` gives firebase-admin what this process has computed already. Unchanged, firebase-admin and
google-auth read a token three times, parse the same certificates for each token, and make a key of the same PEM text
each time. That takes twice as long as the signature check. `GivenVerification` runs the code of their functions with
other helpers:

| function | its helper | what takes its place |
|---|---|---|
| `google.auth.jwt.decode`, `decode_header` | `_unverified_decode` | the token as `strict_jwt` has read it |
| `google.auth.jwt.decode` | the class that verifies RS256 | a cache of keys by their PEM text |
| `google.auth.jwt.decode` | `_verify_iat_and_exp` | its copy, which makes no `datetime` to get the time in seconds |
| `google.oauth2.id_token.verify_token` | `_fetch_certs` | the public keys in memory |
| `verify` and `_decode_unverified` of firebase-admin | the functions above | their copies |

So firebase-admin and google-auth still make every check. The functions are copies with global names of their own, so
nothing changes for other users of these libraries in the process. A test compares the results with those of the
unchanged functions. If a release has other functions or helpers, `UnchangedVerification` takes over.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any, Protocol

import google.auth.exceptions
import google.auth.jwt
import google.oauth2.id_token
from firebase_admin import auth
from google.oauth2 import id_token
from typing_extensions import override

from mstoken.callee.certificates import CertificateCache
from mstoken.strict_jwt import Unverified
from mstoken.wire import CLOCK_SKEW_SECONDS

MAX_CACHED_KEYS = 64
"""Google publishes two to four keys at a time."""

_ALGORITHM = "RS256"
_ANY_AGE_SECONDS = 10**12
_Read = tuple[Mapping[str, Any], dict[str, Any], bytes, bytes]
_log = logging.getLogger("mstoken.firebase")


class AdminVerification(Protocol):
    """Verifies ID tokens of a project by firebase-admin. Its errors are those of firebase-admin and google-auth."""

    is_in_memory: bool
    """Whether verifying does no I/O."""

    def verify_id_token(self, jwt: Unverified) -> dict[str, Any]:
        """Return the claims of a verified ID token. With the Auth emulator, firebase-admin skips the signature."""
        ...

    def verify_signature(self, jwt: Unverified, audience: str) -> None:
        """Verify the signature and the audience of a token, but not its times."""
        ...


def admin_verification(client: auth.Client, certificates: CertificateCache) -> AdminVerification:
    """Return the fastest verification that the installed releases of firebase-admin and google-auth allow."""
    try:
        return GivenVerification(client, certificates.public_keys)
    except (AttributeError, KeyError, TypeError) as error:
        _log.warning("firebase-admin is used unchanged, because it or google-auth is made differently: %s", error)
        return UnchangedVerification(client, certificates)


class UnchangedVerification(AdminVerification):
    """Uses firebase-admin as it is, with certificates from memory if it takes them."""

    def __init__(self, client: auth.Client, certificates: CertificateCache) -> None:
        """Make firebase-admin take its certificates from `certificates`, if this version can.

        firebase-admin keeps its certificate fetcher on a private attribute and offers no other way. A test fails if a
        release moves the attribute. Then firebase-admin fetches the certificates itself, and should verify in a thread.
        """
        self._client = client
        self._certificates = certificates
        verifier = getattr(client, "_token_verifier", None)
        self.is_in_memory = callable(getattr(verifier, "request", None))
        if verifier is not None and self.is_in_memory:
            verifier.request = certificates
        else:
            _log.warning("firebase-admin does not take certificates from memory; it fetches them itself")

    @override
    def verify_id_token(self, jwt: Unverified) -> dict[str, Any]:
        claims: dict[str, Any] = self._client.verify_id_token(jwt.encoded, clock_skew_seconds=CLOCK_SKEW_SECONDS)
        return claims

    @override
    def verify_signature(self, jwt: Unverified, audience: str) -> None:
        id_token.verify_token(jwt.encoded, self._certificates, audience, clock_skew_in_seconds=_ANY_AGE_SECONDS)


class GivenVerification(AdminVerification):
    """Uses the code of firebase-admin and google-auth, and gives it what is known already. It serves all threads."""

    is_in_memory = True

    def __init__(self, client: auth.Client, public_keys: Callable[[], Mapping[str, str]]) -> None:
        """`public_keys` returns public keys in PEM by key id. It is called for each token.

        Raises AttributeError, KeyError or TypeError if firebase-admin or google-auth have other functions.
        """
        self._client = client
        self._thread = threading.local()
        self._read_again: Callable[[str | bytes], _Read] = google.auth.jwt._unverified_decode
        verifiers = google.auth.jwt._ALGORITHM_TO_VERIFIER_CLASS
        cached = SimpleNamespace(from_string=lru_cache(MAX_CACHED_KEYS)(verifiers[_ALGORITHM].from_string))
        clock = SimpleNamespace(utcnow=_now, datetime_to_secs=int)
        decode = _with_globals(
            google.auth.jwt.decode,
            _unverified_decode=self._read,
            _verify_iat_and_exp=_with_globals(google.auth.jwt._verify_iat_and_exp, _helpers=clock),
            _ALGORITHM_TO_VERIFIER_CLASS={**verifiers, _ALGORITHM: cached},
        )
        decode_header = _with_globals(google.auth.jwt.decode_header, _unverified_decode=self._read)
        jwt = SimpleNamespace(decode=decode, decode_header=decode_header)
        self._verify_token = _with_globals(
            google.oauth2.id_token.verify_token, jwt=jwt, _fetch_certs=lambda request, certs_url: public_keys()
        )
        verifier = client._token_verifier.id_token_verifier
        oauth2 = SimpleNamespace(id_token=SimpleNamespace(verify_token=self._verify_token))
        read = _with_globals(type(verifier)._decode_unverified, jwt=jwt)
        verify = _with_globals(type(verifier).verify, google=SimpleNamespace(auth=google.auth, oauth2=oauth2))
        verifier._decode_unverified = MethodType(read, verifier)
        verifier.verify = MethodType(verify, verifier)

    @override
    def verify_id_token(self, jwt: Unverified) -> dict[str, Any]:
        self._thread.jwt = jwt
        try:
            claims: dict[str, Any] = self._client.verify_id_token(jwt.encoded, clock_skew_seconds=CLOCK_SKEW_SECONDS)
            return claims
        finally:
            self._thread.jwt = None

    @override
    def verify_signature(self, jwt: Unverified, audience: str) -> None:
        self._thread.jwt = jwt
        try:
            self._verify_token(jwt.encoded, None, audience, clock_skew_in_seconds=_ANY_AGE_SECONDS)
        finally:
            self._thread.jwt = None

    def _read(self, token: str | bytes) -> _Read:
        """Return the header, the payload, the signed part and the signature, as google-auth's helper does.

        This is what `strict_jwt` has read, if it is of the same token. firebase-admin adds a claim to the payload, so
        the payload is a copy.
        """
        jwt: Unverified | None = getattr(self._thread, "jwt", None)
        if jwt is None or jwt.encoded != (token.decode("utf-8") if isinstance(token, bytes) else token):
            return self._read_again(token)
        return jwt.header, dict(jwt.payload), jwt.signing_input, jwt.signature


def _now() -> float:
    """Return the seconds since the epoch. google-auth only passes them on to `datetime_to_secs`."""
    return time.time()


def _with_globals(function: Any, **names: Any) -> Any:
    """Return a copy of a function in which these global names mean something else.

    Raises TypeError if the function does not use one of the names, so that no replacement is lost unnoticed.
    """
    code = function.__code__
    if missing := [name for name in names if name not in code.co_names or name not in function.__globals__]:
        raise TypeError(f"{function.__qualname__} does not use {', '.join(missing)}.")
    copy = FunctionType(code, {**function.__globals__, **names}, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
