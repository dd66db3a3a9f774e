"""Every error that this library raises on purpose. Their tree follows how a program can react to them.

    MsTokenError
    ├── SettingsError             correct the configuration; nothing was started
    ├── PolicyError               correct the policy file; nothing was started
    ├── NotProtected              correct the program: no app above the route was passed to `protect`
    ├── SignInError               caller: no service token could be obtained
    │   ├── SignInRefused         Firebase refused: correct the identity, the API key or the permissions
    │   └── SignInUnavailable     Firebase did not answer: try again later
    ├── CallNotRepeatable         caller: the callee did nothing; make the call again, or pass its body as bytes
    └── Refusal (a Problem)       callee: this call is refused
        ├── ServiceTokenRefused   401, about X-MS-TOKEN
        │   ├── TokenMissing            token_missing
        │   ├── TokenMalformed          token_malformed
        │   ├── TokenUntrusted          token_untrusted
        │   ├── TokenExpired            token_expired
        │   ├── TokenStale              token_stale
        │   ├── TokenReplayed           token_replayed
        │   ├── TokenWrongAudience      token_wrong_audience
        │   ├── TokenNotService         token_not_service
        │   └── IdentityDisabled        identity_disabled
        ├── ProofRefused          401, about DPoP
        │   ├── ProofMissing            proof_missing
        │   ├── ProofInvalid            proof_invalid
        │   ├── ProofReplayed           proof_replayed
        │   └── ProofNonceRequired      use_dpop_nonce
        ├── UserTokenRefused      401, about Authorization: Bearer
        │   ├── UserTokenMissing        user_token_missing
        │   ├── UserTokenInvalid        user_token_invalid
        │   └── UserTokenRevoked        user_token_revoked
        ├── CredentialRefused     401, about Authorization: Bearer at the token service
        │   ├── CredentialMissing       credential_missing
        │   ├── CredentialMalformed     credential_malformed
        │   ├── CredentialUntrusted     credential_untrusted
        │   ├── CredentialExpired       credential_expired
        │   ├── CredentialReplayed      credential_replayed
        │   └── CredentialUnknown       credential_unknown
        ├── TokenRequestInvalid   400, request_invalid: the token service cannot read the request
        ├── CallerNotAllowed      403, caller_not_allowed: the caller is known, and the route does not admit it
        ├── AudienceNotAllowed    403, audience_not_allowed: the policy does not allow that call
        ├── ServiceDisabled       403, identity_disabled: the token service issues no token to a disabled identity
        ├── VerifierUnavailable   503, verifier_unavailable: tokens cannot be verified now, so every call is refused
        │   └── StoreIsNew              the replay store began after the token or proof was issued
        └── IssuerUnavailable     503, issuer_unavailable: no token can be signed now

The right column has the stable `code` of each refusal. The facts about an error are its attributes. Its text is for
people, and never contains a token.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from mstoken.problem import Problem, challenge
from mstoken.wire import (
    BEARER_SCHEME,
    NONCE_HEADER,
    PROOF_SCHEME,
    SERVICE_SCHEME,
    SERVICE_TOKEN_HEADER,
    SIGNATURE_ALGORITHM,
)


class MsTokenError(Exception):
    """The base class of every error that this library raises on purpose. The errors can be copied and pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[MsTokenError], arguments: tuple[Any, ...]) -> MsTokenError:
    """Return an unpickled error, without calling its constructor, whose parameters are not the exception's `args`."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments  # An error that is an OSError too sets them in its constructor.
    return error


class SettingsError(MsTokenError):
    """A setting is missing or wrong. The text names the variable, the value that was read, and what was expected."""


class PolicyError(MsTokenError):
    """The policy file `file` of the token service is wrong. The text has one line for each error.

    `errors` are pairs: the place of the wrong entry, such as `services.billing.calls[0]`, and a sentence about it. The
    place is None if the error is about the file as a whole.
    """

    def __init__(self, file: str, errors: Sequence[tuple[str | None, str]]) -> None:
        super().__init__(
            "\n".join(f"{file}: {text}" if place is None else f"{file}: {place}: {text}" for place, text in errors)
        )
        self.file = file
        self.errors = tuple(errors)


class NotProtected(MsTokenError):
    """A route asks who is calling, and no app that it belongs to has a verifier."""

    def __init__(self) -> None:
        super().__init__(
            "A route uses allow(), and its app has no verifier, so every call fails. Call "
            'protect(app, TokenVerifier("…")) of mstoken.fastapi, mstoken.starlette or mstoken.flask with the app of '
            "the route, or with an app in which it is mounted."
        )


class SignInError(MsTokenError):
    """No service token could be obtained for `identity`, the Firebase uid that tried to sign in.

    A call of an HTTP client raises a subclass that is an error of that client too: of httpx and httpx2
    `HttpxSignInRefused` and `HttpxSignInUnavailable` (`mstoken.caller.auth`).
    """

    retry_after_seconds: float = 0.0

    def __init__(self, identity: str, reason: str) -> None:
        super().__init__(f"{identity} could not sign in to Firebase: {reason}")
        self.identity = identity
        self.reason = reason


class SignInRefused(SignInError):
    """Firebase or the signer refused, and will refuse again until something is corrected."""


class SignInUnavailable(SignInError):
    """Firebase or the signer could not be reached, or asked the caller to wait `retry_after_seconds`."""

    def __init__(self, identity: str, reason: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(identity, reason)
        self.retry_after_seconds = retry_after_seconds


class CallNotRepeatable(MsTokenError):
    """The service `audience` refused a call before it did anything, and the call cannot be sent again by itself.

    Its body is a stream that can be read only once. `code` is the refusal.
    """

    def __init__(self, audience: str, code: str) -> None:
        super().__init__(
            f"{audience} refused the call ({code}) and did nothing. The call needs a new token or proof, but its body "
            "is a stream that can be read only once. Make the call again, or pass the body as bytes."
        )
        self.audience = audience
        self.code = code


class Refusal(MsTokenError, Problem):
    """A call that the callee refuses. `Problem` describes the answer."""


class ServiceTokenRefused(Refusal):
    """The service token in `X-MS-TOKEN` is missing or not accepted. The challenge's `error` is the refusal's code."""

    status = 401
    scheme = SERVICE_SCHEME


class TokenMissing(ServiceTokenRefused):
    """The call has no token. `users_too` says whether a user's token would have been accepted too."""

    code = "token_missing"
    title = "A service token is missing"

    def __init__(self, *, users_too: bool = False) -> None:
        super().__init__(
            f"Send a service token in {SERVICE_TOKEN_HEADER}, or a user's token in Authorization: Bearer."
            if users_too
            else f"Send a service token in {SERVICE_TOKEN_HEADER}."
        )
        self.users_too = users_too

    def challenges(self, realm: str) -> tuple[str, ...]:
        """Return a challenge without an error for each kind of token that would have been accepted."""
        service = super().challenges(realm)
        return (*service, challenge(BEARER_SCHEME, realm)) if self.users_too else service


class TokenMalformed(ServiceTokenRefused):
    """The value of `X-MS-TOKEN` is not a JWT, or is too long, or there is more than one header line."""

    code = error = "token_malformed"
    title = "The service token is malformed"


class TokenUntrusted(ServiceTokenRefused):
    """The token is not an ID token of this Firebase project: its signature, issuer, audience or times are wrong."""

    code = error = "token_untrusted"
    title = "The service token cannot be trusted"


class TokenExpired(ServiceTokenRefused):
    """The time in the token's `exp` has passed, or a bound token was minted or signed in more than an hour ago."""

    code = error = "token_expired"
    title = "The service token has expired"


class TokenStale(ServiceTokenRefused):
    """A fresh token was minted or signed in `age_seconds` ago, and is accepted for `max_age_seconds`."""

    code = error = "token_stale"
    title = "The service token is not fresh"

    def __init__(self, age_seconds: int, max_age_seconds: int) -> None:
        super().__init__(f"The token is {age_seconds} s old. At most {max_age_seconds} s are allowed.")
        self.age_seconds = age_seconds
        self.max_age_seconds = max_age_seconds


class TokenReplayed(ServiceTokenRefused):
    """The id of the token was spent before."""

    code = error = "token_replayed"
    title = "The service token has been used before"


class TokenWrongAudience(ServiceTokenRefused):
    """The token is for the service `audience`, and this service is `expected`."""

    code = error = "token_wrong_audience"
    title = "The service token is for another service"

    def __init__(self, audience: str, expected: str) -> None:
        super().__init__(f"The token is for {audience}, and this service is {expected}.")
        self.audience = audience
        self.expected = expected


class TokenNotService(ServiceTokenRefused):
    """A valid ID token that is not a service token: that of a user, or one with an unknown form of the `ms` claim."""

    code = error = "token_not_service"
    title = "The token is not a service token"


class IdentityDisabled(ServiceTokenRefused):
    """The service identity `identity` is disabled or deleted, or was revoked after the token was minted."""

    code = error = "identity_disabled"
    title = "The service identity is disabled or revoked"

    def __init__(self, identity: str) -> None:
        super().__init__(f"{identity} is disabled or deleted, or was revoked after this token was minted.")
        self.identity = identity


class ProofRefused(Refusal):
    """The proof in `DPoP` is missing or not accepted (RFC 9449, section 7.1)."""

    status = 401
    scheme = PROOF_SCHEME
    error: ClassVar[str | None] = "invalid_dpop_proof"
    challenge_parameters: ClassVar[Mapping[str, str]] = {"algs": SIGNATURE_ALGORITHM}


class ProofMissing(ProofRefused):
    """The call has no proof, and its token is bound to a key, or the route requires a proof."""

    code = "proof_missing"
    title = "A proof is missing"
    error = None


class ProofInvalid(ProofRefused):
    """The proof is malformed, or not for this call, this token and this time. `detail` says which."""

    code = "proof_invalid"
    title = "The proof is not valid for this call"


class ProofReplayed(ProofRefused):
    """The id of the proof was spent before."""

    code = "proof_replayed"
    title = "The proof has been used before"


class ProofNonceRequired(ProofRefused):
    """The proof has no nonce of this service, or one that is too old. `nonce` is a valid one for the next proof."""

    code = error = "use_dpop_nonce"
    title = "The proof must carry a nonce of this service"

    def __init__(self, nonce: str) -> None:
        super().__init__()
        self.nonce = nonce

    def headers(self) -> Mapping[str, str]:
        """Return the header field with the nonce (RFC 9449, section 9)."""
        return {NONCE_HEADER: self.nonce}


class UserTokenRefused(Refusal):
    """The user's token in `Authorization: Bearer` is missing or not accepted (RFC 6750, section 3.1)."""

    status = 401
    scheme = BEARER_SCHEME
    error: ClassVar[str | None] = "invalid_token"


class UserTokenMissing(UserTokenRefused):
    """The call has no user's token, and the route needs one."""

    code = "user_token_missing"
    title = "A user's token is missing"
    error = None


class UserTokenInvalid(UserTokenRefused):
    """The token is not a valid ID token of a user of this project: malformed, forged, expired, or that of a service."""

    code = "user_token_invalid"
    title = "The user's token is not valid"


class UserTokenRevoked(UserTokenRefused):
    """The user logged out after the sign-in of the token, or is disabled or deleted."""

    code = "user_token_revoked"
    title = "The user's token has been revoked"


class CredentialRefused(Refusal):
    """The credential with which a service authenticates to the token service is missing or not accepted."""

    status = 401
    scheme = BEARER_SCHEME
    error: ClassVar[str | None] = "invalid_token"


class CredentialMissing(CredentialRefused):
    """The request to the token service has no credential."""

    code = "credential_missing"
    title = "A credential is missing"
    error = None


class CredentialMalformed(CredentialRefused):
    """The value of `Authorization` is not a JWT with the scheme Bearer, or there is more than one header line."""

    code = "credential_malformed"
    title = "The credential is malformed"


class CredentialUntrusted(CredentialRefused):
    """The credential is neither an identity token of Google nor an assertion of a registered key."""

    code = "credential_untrusted"
    title = "The credential cannot be trusted"


class CredentialExpired(CredentialRefused):
    """The time in the credential's `exp` has passed, or the assertion is older than 60 s."""

    code = "credential_expired"
    title = "The credential has expired"


class CredentialReplayed(CredentialRefused):
    """The id of the assertion was spent before."""

    code = "credential_replayed"
    title = "The credential has been used before"


class CredentialUnknown(CredentialRefused):
    """The credential is that of the Google account `account`, and the policy has no service with that account."""

    code = "credential_unknown"
    title = "The credential does not belong to any service"

    def __init__(self, account: str) -> None:
        super().__init__(f"The policy has no service with the account {account}.")
        self.account = account


class TokenRequestInvalid(Refusal):
    """The body of a request to the token service is not valid. `detail` says where."""

    status = 400
    code = "request_invalid"
    title = "The request is not a valid request for a token"


class CallerNotAllowed(Refusal):
    """The token of `caller` is valid, but this route does not admit that caller."""

    status = 403
    code = "caller_not_allowed"
    title = "This caller may not make this call"

    def __init__(self, caller: str) -> None:
        super().__init__(f"{caller} may not make this call.")
        self.caller = caller


class AudienceNotAllowed(Refusal):
    """The credential of `service` is valid, but the policy does not allow it to call `audience`."""

    status = 403
    code = "audience_not_allowed"
    title = "This service may not call that service"

    def __init__(self, service: str, audience: str) -> None:
        super().__init__(f"The policy does not allow {service} to call {audience}.")
        self.service = service
        self.audience = audience


class ServiceDisabled(Refusal):
    """The credential of the service with the identity `identity` is valid, but the identity is disabled."""

    status = 403
    code = "identity_disabled"
    title = "The service identity is disabled"

    def __init__(self, identity: str) -> None:
        super().__init__(f"{identity} is disabled, so it gets no token.")
        self.identity = identity


class VerifierUnavailable(Refusal):
    """Tokens cannot be verified now. `reason` says what is missing; it is for operators, and not in the answer."""

    status = 503
    code = "verifier_unavailable"
    title = "Tokens cannot be verified now"
    detail_is_public = False

    def __init__(self, reason: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class StoreIsNew(VerifierUnavailable):
    """The token or proof may have been used before: it was issued before the memory of the replay store began.

    What is issued at `accepts_from` or later, in whole seconds since the epoch, is accepted.
    """

    def __init__(self, newest_refused: float, now: float) -> None:
        """`newest_refused` is the latest time of issue that is refused. Both are in seconds since the epoch."""
        accepts_from = math.floor(newest_refused) + 1
        super().__init__(
            "The store of spent ids is new or has lost its memory, so it cannot tell what was used before. It accepts "
            f"what is issued from {datetime.fromtimestamp(accepts_from, UTC):%Y-%m-%d %H:%M:%S} UTC on.",
            retry_after_seconds=max(1, math.ceil(accepts_from - now)),
        )
        self.accepts_from = accepts_from


class IssuerUnavailable(Refusal):
    """No token can be signed now. `reason` says why; it is for operators, and not in the answer."""

    status = 503
    code = "issuer_unavailable"
    title = "Tokens cannot be issued now"
    detail_is_public = False
    retry_after_seconds = 1

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
