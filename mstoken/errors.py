"""Every error that mstoken raises, nested by what the one who catches it can do.

    MsTokenError
    ├── SettingsError             mend the configuration; nothing was started
    ├── PolicyError               mend the policy file; nothing was started
    ├── SignInError               caller: no service token could be had
    │   ├── SignInRefused         Firebase said no: mend the identity or the API key
    │   └── SignInUnavailable     Firebase did not answer: try again later
    └── Refusal                   callee: this call does not come in
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
        │   └── ProofNonceWanted        use_dpop_nonce
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
        ├── TokenRequestInvalid   400, request_invalid: nothing that the token service understands
        ├── CallerNotAllowed      403, caller_not_allowed: known, but not for this route
        ├── AudienceNotAllowed    403, audience_not_allowed: known, but policy does not let it call that service
        ├── VerifierUnavailable   503, verifier_unavailable: cannot tell now, so nobody comes in
        └── IssuerUnavailable     503, issuer_unavailable: nothing can be signed now

The last word of each line is the stable `code` of the refusal. Errors carry facts as attributes; their texts are
for people and never hold a token.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

PROOF_ALGORITHM = "ES256"
"""The one signature algorithm of proofs (RFC 7518, section 3.4)."""
NONCE_HEADER = "DPoP-Nonce"
"""Where a callee hands out a nonce (RFC 9449, section 8.2)."""
SERVICE_SCHEME = "MsToken"
"""The challenge's auth-scheme for `X-MS-TOKEN` (RFC 9110, section 11.1)."""


class MsTokenError(Exception):
    """The root of every error that this library raises on purpose. They can be copied, and sent between processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args), self.__dict__


def _again(kind: type[MsTokenError], arguments: tuple[Any, ...]) -> MsTokenError:
    """An error as it was: their constructors take other arguments than those that an error keeps."""
    return kind.__new__(kind, *arguments)


class SettingsError(MsTokenError):
    """A setting is missing or wrong. The text names the variable, what was read and what is wanted."""


class PolicyError(MsTokenError):
    """The token service's policy file is wrong. The text has a line for each fault: file, line, place, what is wanted.

    `file` is the name that it was read by, `faults` are pairs of a line of it, from 1 on, and a sentence about it, in
    the order of the lines; None in place of a line where a fault is in none. `line` is that of the first fault.
    """

    def __init__(self, file: str, faults: Sequence[tuple[int | None, str]]) -> None:
        super().__init__(
            "\n".join(f"{file}: {text}" if line is None else f"{file}, line {line}: {text}" for line, text in faults)
        )
        self.file = file
        self.faults = tuple(faults)
        self.line = faults[0][0]


class SignInError(MsTokenError):
    """No service token could be had for `identity`, the uid that tried to sign in."""

    retry_after_seconds: float = 0.0

    def __init__(self, identity: str, reason: str) -> None:
        super().__init__(f"{identity} could not sign in to Firebase: {reason}")
        self.identity = identity
        self.reason = reason


class SignInRefused(SignInError):
    """Firebase or the signer said no, and will say so again until something is mended."""


class SignInUnavailable(SignInError):
    """Firebase or the signer could not be reached, or asked to wait `retry_after_seconds`."""

    def __init__(self, identity: str, reason: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(identity, reason)
        self.retry_after_seconds = retry_after_seconds


class Refusal(MsTokenError):
    """A call that the callee does not let in.

    `status` is the HTTP status, `code` the stable name of the reason, `title` the reason in words; `detail` is about
    this one call. `retry_after_seconds` is set where waiting may help.
    """

    status: ClassVar[Literal[400, 401, 403, 503]]
    code: ClassVar[str]
    title: ClassVar[str]
    retry_after_seconds: int | None = None

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail

    def challenges(self, realm: str) -> tuple[str, ...]:
        """The `WWW-Authenticate` challenges for the service `realm`; empty where none is due (RFC 9110, 11.6.1)."""
        return ()

    def headers(self) -> Mapping[str, str]:
        """Further header fields of the answer."""
        return {}


class ServiceTokenRefused(Refusal):
    """The service token in `X-MS-TOKEN` is missing or does not count."""

    status = 401

    def challenges(self, realm: str) -> tuple[str, ...]:
        """One `MsToken` challenge whose `error` is this refusal's code."""
        return (f'{SERVICE_SCHEME} realm="{realm}", error="{self.code}"',)


class TokenMissing(ServiceTokenRefused):
    """No token at all. `users_too` says that a user's token would have done as well."""

    code = "token_missing"
    title = "A service token is missing"

    def __init__(self, *, users_too: bool = False) -> None:
        super().__init__(
            "Send a service token in X-MS-TOKEN, or a user's in Authorization: Bearer."
            if users_too
            else "Send a service token in X-MS-TOKEN."
        )
        self.users_too = users_too

    def challenges(self, realm: str) -> tuple[str, ...]:
        """A bare challenge for each kind of token that would have done (RFC 6750, section 3.1: no error code)."""
        service = f'{SERVICE_SCHEME} realm="{realm}"'
        return (service, f'Bearer realm="{realm}"') if self.users_too else (service,)


class TokenMalformed(ServiceTokenRefused):
    """What came is no JWT: wrong size, wrong alphabet, wrong JSON, or more than one header line."""

    code = "token_malformed"
    title = "The service token is malformed"


class TokenUntrusted(ServiceTokenRefused):
    """The signature, the issuer or the project is not ours."""

    code = "token_untrusted"
    title = "The service token is not to be trusted"


class TokenExpired(ServiceTokenRefused):
    """The token's own `exp` has passed."""

    code = "token_expired"
    title = "The service token has expired"


class TokenStale(ServiceTokenRefused):
    """The token is alive, but was issued `age_seconds` ago and only `max_age_seconds` count as fresh."""

    code = "token_stale"
    title = "The service token is not fresh"

    def __init__(self, age_seconds: int, max_age_seconds: int) -> None:
        super().__init__(f"It was issued {age_seconds} s ago; {max_age_seconds} s are allowed.")
        self.age_seconds = age_seconds
        self.max_age_seconds = max_age_seconds


class TokenReplayed(ServiceTokenRefused):
    """The token's id has been spent before."""

    code = "token_replayed"
    title = "The service token has been used before"


class TokenWrongAudience(ServiceTokenRefused):
    """The token is for the service `audience`, and this one is `expected`."""

    code = "token_wrong_audience"
    title = "The service token is for another service"

    def __init__(self, audience: str, expected: str) -> None:
        super().__init__(f"It is for {audience}, and this is {expected}.")
        self.audience = audience
        self.expected = expected


class TokenNotService(ServiceTokenRefused):
    """A good Firebase token, but no service's: a user's, or one whose `ms` claim we do not know."""

    code = "token_not_service"
    title = "The token is not a service token"


class IdentityDisabled(ServiceTokenRefused):
    """The service identity `identity` is disabled, deleted, or was revoked after the token was issued."""

    code = "identity_disabled"
    title = "The service identity is disabled or revoked"

    def __init__(self, identity: str) -> None:
        super().__init__(f"{identity} may not call any more.")
        self.identity = identity


class ProofRefused(Refusal):
    """The proof in `DPoP` is missing or does not count."""

    status = 401
    error: ClassVar[str] = "invalid_dpop_proof"

    def challenges(self, realm: str) -> tuple[str, ...]:
        """One `DPoP` challenge with its `error` (RFC 9449, section 7.1)."""
        return (f'DPoP realm="{realm}", error="{self.error}", algs="{PROOF_ALGORITHM}"',)


class ProofMissing(ProofRefused):
    """No proof, where the token is bound to a key or the route insists on one."""

    code = "proof_missing"
    title = "A proof is missing"

    def challenges(self, realm: str) -> tuple[str, ...]:
        """A bare challenge: no error where nothing was sent (RFC 6750, section 3.1)."""
        return (f'DPoP realm="{realm}", algs="{PROOF_ALGORITHM}"',)


class ProofInvalid(ProofRefused):
    """The proof is not for this call, this token or this time, or no proof at all; `detail` says which."""

    code = "proof_invalid"
    title = "The proof is not valid for this call"


class ProofReplayed(ProofRefused):
    """The proof's id has been spent before."""

    code = "proof_replayed"
    title = "The proof has been used before"


class ProofNonceWanted(ProofRefused):
    """The proof carries no nonce of this service's, or one that is too old; `nonce` is one for the next proof."""

    code = error = "use_dpop_nonce"
    title = "The proof must carry a nonce of this service"

    def __init__(self, nonce: str) -> None:
        super().__init__()
        self.nonce = nonce

    def headers(self) -> Mapping[str, str]:
        """The nonce (RFC 9449, section 9)."""
        return {NONCE_HEADER: self.nonce}


class UserTokenRefused(Refusal):
    """The user's token in `Authorization: Bearer` is missing or does not count."""

    status = 401

    def challenges(self, realm: str) -> tuple[str, ...]:
        """A `Bearer` challenge, error `invalid_token` (RFC 6750, section 3.1)."""
        return (f'Bearer realm="{realm}", error="invalid_token", error_description="{self.title}"',)


class UserTokenMissing(UserTokenRefused):
    """No user token where one is needed."""

    code = "user_token_missing"
    title = "A user's token is missing"

    def challenges(self, realm: str) -> tuple[str, ...]:
        """A bare `Bearer` challenge (RFC 6750, section 3.1: no error code where nothing was sent)."""
        return (f'Bearer realm="{realm}"',)


class UserTokenInvalid(UserTokenRefused):
    """Not a live Firebase ID token of a user of this project: malformed, forged, expired, or a service's."""

    code = "user_token_invalid"
    title = "The user's token is not valid"


class UserTokenRevoked(UserTokenRefused):
    """The user logged out after the token was issued, or is disabled or deleted."""

    code = "user_token_revoked"
    title = "The user's token has been revoked"


class CredentialRefused(Refusal):
    """What a service proves itself with to the token service is missing or does not count."""

    status = 401

    def challenges(self, realm: str) -> tuple[str, ...]:
        """A `Bearer` challenge, error `invalid_token` (RFC 6750, section 3.1)."""
        return (f'Bearer realm="{realm}", error="invalid_token", error_description="{self.title}"',)


class CredentialMissing(CredentialRefused):
    """No credential at all."""

    code = "credential_missing"
    title = "A credential is missing"

    def challenges(self, realm: str) -> tuple[str, ...]:
        """A bare `Bearer` challenge (RFC 6750, section 3.1: no error code where nothing was sent)."""
        return (f'Bearer realm="{realm}"',)


class CredentialMalformed(CredentialRefused):
    """What came is no JWT, or more than one, or of another scheme than Bearer."""

    code = "credential_malformed"
    title = "The credential is malformed"


class CredentialUntrusted(CredentialRefused):
    """Neither an identity token of Google's nor an assertion signed with a registered key, for this token service."""

    code = "credential_untrusted"
    title = "The credential is not to be trusted"


class CredentialExpired(CredentialRefused):
    """Its time is over, or it is older than an assertion may be."""

    code = "credential_expired"
    title = "The credential has expired"


class CredentialReplayed(CredentialRefused):
    """The assertion's id has been spent before."""

    code = "credential_replayed"
    title = "The credential has been used before"


class CredentialUnknown(CredentialRefused):
    """Google vouches for `account`, and policy has no service with that account."""

    code = "credential_unknown"
    title = "The credential is of no service"

    def __init__(self, account: str) -> None:
        super().__init__(f"Policy has no service with the account {account}.")
        self.account = account


class TokenRequestInvalid(Refusal):
    """The body of a request to the token service is not as it should be; `detail` says where."""

    status = 400
    code = "request_invalid"
    title = "The request is not one for a token"


class CallerNotAllowed(Refusal):
    """`caller` is who it says, but this route is not for it."""

    status = 403
    code = "caller_not_allowed"
    title = "This caller may not make this call"

    def __init__(self, caller: str) -> None:
        super().__init__(f"{caller} may not make this call.")
        self.caller = caller


class AudienceNotAllowed(Refusal):
    """`service` is who it says, but policy does not let it call `audience`."""

    status = 403
    code = "audience_not_allowed"
    title = "This service may not call that one"

    def __init__(self, service: str, audience: str) -> None:
        super().__init__(f"Policy does not let {service} call {audience}.")
        self.service = service
        self.audience = audience


class VerifierUnavailable(Refusal):
    """Whether the token is good cannot be told now; `reason` says what is missing, for the log and for operators."""

    status = 503
    code = "verifier_unavailable"
    title = "Tokens cannot be verified now"

    def __init__(self, reason: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class IssuerUnavailable(Refusal):
    """No token can be signed now; `reason` says why, for the log and for operators."""

    status = 503
    code = "issuer_unavailable"
    title = "Tokens cannot be issued now"
    retry_after_seconds = 1

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
