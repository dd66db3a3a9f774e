"""The token service: a custom token for a service's own name, for an audience that policy lets it call."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Protocol, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from mstoken import strict_jwt
from mstoken.callee.certificates import CertificateCache, PublishedCertificates
from mstoken.callee.replay.factory import replay_store
from mstoken.callee.replay.store import ReplayStore
from mstoken.caller.minting import AdminMinter
from mstoken.claims import ServiceClaims, is_thumbprint, log_name, service_name
from mstoken.errors import (
    AudienceNotAllowed,
    IssuerUnavailable,
    Refusal,
    SettingsError,
    SignInError,
    TokenRequestInvalid,
)
from mstoken.issuer.credentials import CredentialVerifier, Proven
from mstoken.issuer.policy import Policy
from mstoken.settings import Settings
from mstoken.wire import Mode

CUSTOM_TOKEN_SECONDS = 3600
"""How long a custom token can be signed in with (Firebase, "Create custom tokens")."""
MAX_BODY_BYTES = 4096

_audit = logging.getLogger("mstoken.audit")


class TokenRequest(BaseModel):
    """What a service asks for: a token for `audience`, fresh, or bound to the key whose thumbprint is `jkt`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    audience: Annotated[str, AfterValidator(service_name)]
    mode: Mode
    jkt: str | None = None

    @model_validator(mode="after")
    def _thumbprint_only_in_proof_mode(self) -> Self:
        if (self.mode == "proof") != (self.jkt is not None):
            raise ValueError("jkt is wanted in the mode proof, and in no other")
        if self.jkt is not None and not is_thumbprint(self.jkt):
            raise ValueError("jkt is no SHA-256 thumbprint of a key in base64url (RFC 7638)")
        return self

    def claims(self, service: str) -> ServiceClaims:
        """The claims of a new token for `service`: a fresh one has an id of our making, which nobody could repeat."""
        if self.jkt is not None:
            return ServiceClaims.bound(service, self.audience, self.jkt)
        return ServiceClaims.fresh(service, self.audience)


class Issued(BaseModel):
    """A custom token, to be signed in with within `expires_in` seconds."""

    custom_token: str
    expires_in: int = CUSTOM_TOKEN_SECONDS


class Signer(Protocol):
    """Signs custom tokens: an `AdminMinter`."""

    async def sign(self, claims: ServiceClaims) -> str:
        """A custom token with just these claims. Raises `SignInError`."""
        ...


@dataclass
class _Record:
    """One audit line."""

    proven: Proven | None = None
    audience: str | None = None
    mode: str | None = None
    token_id: str | None = None

    def write(self, refusal: Refusal | None = None) -> None:
        facts = {
            "service": self.proven.service if self.proven else None,
            "proven_by": str(self.proven) if self.proven else None,
            "audience": self.audience,
            "mode": self.mode,
            "token_id": self.token_id,
            "verdict": refusal.code if refusal else "issued",
            # Of an outage the answer does not tell it; of a refusal, who reads this is nearer than who was refused.
            "reason": str(refusal) if refusal else None,
        }
        _audit.log(logging.INFO if refusal is None else logging.WARNING, "token", extra=facts)


class TokenService:
    """Issues custom tokens to services that prove who they are, by a policy.

    One instance serves a process, in one event loop. Open it with `async with`; the functions' adapter does.
    """

    def __init__(
        self,
        policy: Policy,
        settings: Settings | None = None,
        *,
        signer: Signer | None = None,
        certificates: CertificateCache | None = None,
        replay: ReplayStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`settings` come from the environment if left out; their `token_service_url` is this service's own.

        `signer`, `certificates` and `replay` stand in for firebase-admin, for those that Google publishes, and for the
        store that the settings name; `clock` gives seconds since the epoch. Raises `SettingsError`.
        """
        settings = settings or Settings()
        if settings.token_service_url is None:
            raise SettingsError("MSTOKEN_TOKEN_SERVICE_URL is not set: the token service's own URL is wanted.")
        self._policy = policy
        self._certificates = certificates or CertificateCache(PublishedCertificates(settings.google_certificates_url))
        self._replay = replay or replay_store(settings.replay_url, "token")
        self._credentials = CredentialVerifier(
            policy, settings.token_service_url, self._certificates, self._replay, clock=clock
        )
        self._signer = signer or AdminMinter(settings)

    async def issue(self, authorizations: Sequence[str], body: bytes) -> Issued:
        """The custom token that the JSON `body` asks for, to whoever the `Authorization` header lines say.

        Raises the `Refusal` that says what is wrong. Writes one record to the log `mstoken.audit`.
        """
        record = _Record()
        try:
            record.proven = await self._credentials.verify(authorizations)
            request = _parsed(body)
            record.audience, record.mode = request.audience, request.mode
            if not self._policy.allows(record.proven.service, request.audience):
                raise AudienceNotAllowed(record.proven.service, request.audience)
            # Last of all, so that a refused request burns nothing; and before signing, so that none is signed twice.
            await self._credentials.spend(record.proven)
            claims = request.claims(record.proven.service)
            record.token_id = log_name(claims.token_id or claims.key_thumbprint or "")
            custom_token = await self._signed(claims)
        except Refusal as refusal:
            record.write(refusal)
            raise
        record.write()
        return Issued(custom_token=custom_token)

    async def _signed(self, claims: ServiceClaims) -> str:
        try:
            return await self._signer.sign(claims)
        except SignInError as error:
            raise IssuerUnavailable(error.reason) from error

    async def aclose(self) -> None:
        """Ends the background work, and lets go of the replay store."""
        await self._certificates.aclose()
        await self._replay.aclose()

    async def open(self) -> None:
        """Fetches Google's certificates, and keeps them fresh from now on; an outage is no obstacle."""
        await self._certificates.open()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _parsed(body: bytes) -> TokenRequest:
    if len(body) > MAX_BODY_BYTES:
        raise TokenRequestInvalid(f"The body is longer than {MAX_BODY_BYTES} bytes.")
    try:
        return TokenRequest.model_validate(strict_jwt.json_object(body))
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise TokenRequestInvalid("; ".join(faults)) from None
    except ValueError as error:
        raise TokenRequestInvalid(f"The body is {error}.") from None
