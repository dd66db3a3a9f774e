"""The token service: it signs a custom token for the caller's own name, for an audience that the policy allows."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from mstoken import strict_jwt
from mstoken.callee.certificates import CertificateCache, PublishedCertificates
from mstoken.callee.firebase import AdminDirectory
from mstoken.callee.replay.factory import replay_store
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.replay.store import ReplayStore
from mstoken.callee.shared_status import status_store
from mstoken.callee.status import StatusCache
from mstoken.caller.admin_minter import AdminMinter
from mstoken.claims import ServiceClaims, is_thumbprint, log_name, service_name, service_uid
from mstoken.errors import (
    AudienceNotAllowed,
    IssuerUnavailable,
    Refusal,
    ServiceDisabled,
    SettingsError,
    SignInError,
    TokenRequestInvalid,
    VerifierUnavailable,
)
from mstoken.issuer.credentials import CredentialVerifier, ProvenService
from mstoken.issuer.policy import Policy
from mstoken.log_events import log_event
from mstoken.settings import Settings
from mstoken.wire import CUSTOM_TOKEN_LIFETIME_SECONDS, Mode

MAX_BODY_BYTES = 4096

_audit = logging.getLogger("mstoken.audit")


class TokenRequest(BaseModel):
    """A request for a token for `audience`: a fresh one, or one that is bound to the key with the thumbprint `jkt`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    audience: Annotated[str, AfterValidator(service_name)]
    mode: Mode
    jkt: str | None = None

    @model_validator(mode="after")
    def _has_a_thumbprint_in_proof_mode_only(self) -> Self:
        if (self.mode == "proof") != (self.jkt is not None):
            raise ValueError("jkt is required in proof mode, and not allowed in fresh mode")
        if self.jkt is not None and not is_thumbprint(self.jkt):
            raise ValueError("jkt must be a SHA-256 thumbprint in base64url, 43 characters (RFC 7638)")
        return self

    def claims(self, service: str, minted_at: float) -> ServiceClaims:
        """Return the claims of a new token for `service`, minted at that time, in seconds since the epoch.

        The id of a fresh one is random: no caller can choose it.
        """
        if self.jkt is not None:
            return ServiceClaims.bound(service, self.audience, self.jkt, minted_at=minted_at)
        return ServiceClaims.fresh(service, self.audience, minted_at=minted_at)


class Issued(BaseModel):
    """A custom token. The caller must sign in with it within `expires_in` seconds."""

    custom_token: str
    expires_in: int = CUSTOM_TOKEN_LIFETIME_SECONDS


@dataclass
class _AuditRecord:
    """One line of the audit log, as far as the request is understood. It contains no token."""

    proven: ProvenService | None = None
    audience: str | None = None
    mode: str | None = None
    token_id: str | None = None

    def write(self, refusal: Refusal | None = None) -> None:
        # The answer does not contain the reason of an outage, so the log must.
        verdict, reason = (refusal.code, str(refusal)) if refusal else ("issued", None)
        service = self.proven.service if self.proven else None
        caller = service_uid(service) if service else "unknown"
        message = f"token {caller} → {self.audience or 'unknown'} {self.mode or 'unknown'} {verdict}"
        log_event(
            _audit,
            logging.INFO if refusal is None else logging.WARNING,
            "token",
            f"{message}: {reason}" if reason else message,
            service=service,
            proven_by=str(self.proven) if self.proven else None,
            audience=self.audience,
            mode=self.mode,
            token_id=self.token_id,
            verdict=verdict,
            reason=reason,
        )


class TokenService:
    """Issues custom tokens to services that prove their identity, as far as the policy allows.

    One instance serves all event loops and threads of a process. Open it with `async with`; the adapter for functions
    does.
    """

    def __init__(
        self,
        policy: Policy,
        settings: Settings | None = None,
        *,
        sign: Callable[[ServiceClaims], Awaitable[str]] | None = None,
        status: StatusCache | None = None,
        certificates: CertificateCache | None = None,
        replay: ReplayStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`settings` default to the environment. Their `token_service_url` must be this service's own URL.

        `sign` returns a custom token with the given claims, or raises `SignInError`. `status` tells which identities
        are disabled. Both default to firebase-admin, `certificates` to those that Google publishes, and `replay` to the
        store in the settings. `clock` returns seconds since the epoch.

        Raise `SettingsError`.
        """
        settings = settings or Settings()
        if settings.token_service_url is None:
            raise SettingsError("MSTOKEN_TOKEN_SERVICE_URL is not set. Set it to the URL of this token service.")
        self._policy = policy
        self._certificates = certificates or CertificateCache(PublishedCertificates(settings.google_certificates_url))
        # Only assertions are spent, so without registered keys the store of the settings is not needed.
        self._replay = replay or (replay_store(settings, "token") if policy.has_keys else MemoryReplayStore())
        self._credentials = CredentialVerifier(
            policy, settings.token_service_url, self._certificates, self._replay, clock=clock
        )
        self._status = status or StatusCache(AdminDirectory(settings), shared=status_store(settings))
        self._clock = clock
        self._sign = sign or AdminMinter(settings, clock=clock).sign

    async def issue(self, authorizations: Sequence[str], body: bytes) -> Issued:
        """Return the custom token that the JSON `body` requests, for the service that `authorizations` authenticate.

        Raise a `Refusal` that says what is wrong. Write one record to the log `mstoken.audit`.
        """
        record = _AuditRecord()
        try:
            record.proven = await self._credentials.verify(authorizations)
            request = _token_request(body)
            record.audience, record.mode = request.audience, request.mode
            if not self._policy.allows(record.proven.service, request.audience):
                raise AudienceNotAllowed(record.proven.service, request.audience)
            await self._check_identity(service_uid(record.proven.service))
            # After the other checks, so that a refused request spends nothing. Before signing, so that one assertion
            # never gets two tokens.
            await self._credentials.spend(record.proven)
            claims = request.claims(record.proven.service, self._clock())
            record.token_id = log_name(claims.token_id or claims.key_thumbprint or "")
            custom_token = await self._custom_token(claims)
        except Refusal as refusal:
            record.write(refusal)
            raise
        record.write()
        return Issued(custom_token=custom_token)

    async def open(self) -> None:
        """Fetch Google's certificates, and begin the memory of a new replay store.

        From now on, refresh the certificates and the status of identities in the background.

        An outage does not raise an error.
        """
        await self._certificates.open()
        await self._status.open()
        with suppress(VerifierUnavailable):
            await self._replay.ready()

    async def aclose(self) -> None:
        """End the background work, and close the replay store."""
        await self._status.aclose()
        await self._certificates.aclose()
        await self._replay.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _check_identity(self, uid: str) -> None:
        """Raise `ServiceDisabled` if the identity is disabled, and `VerifierUnavailable` if its status is not known.

        An identity that does not exist is allowed, since the first sign-in creates it. Raise `IssuerUnavailable` for an
        identity that was enabled or revoked a moment ago: callees would refuse a token that is minted now.
        """
        status = await self._status.status(uid)
        if status is None:
            return
        if status.disabled:
            raise ServiceDisabled(uid)
        if status.was_revoked and int(self._clock()) <= status.valid_since:
            raise IssuerUnavailable(f"{uid} was enabled or revoked a moment ago. Tokens count in a few seconds.")

    async def _custom_token(self, claims: ServiceClaims) -> str:
        try:
            return await self._sign(claims)
        except SignInError as error:
            raise IssuerUnavailable(error.reason) from error


def _token_request(body: bytes) -> TokenRequest:
    """Return the request in `body`. Raise `TokenRequestInvalid` if it is anything else."""
    if len(body) > MAX_BODY_BYTES:
        raise TokenRequestInvalid(f"The body is longer than {MAX_BODY_BYTES} bytes.")
    try:
        return TokenRequest.model_validate(strict_jwt.json_object(body))
    except ValidationError as error:
        errors = (
            f"{'.'.join(map(str, detail['loc'])) or 'body'}: {detail['msg'].removeprefix('Value error, ')}"
            for detail in error.errors(include_input=False, include_url=False)
        )
        raise TokenRequestInvalid("; ".join(errors)) from None
    except ValueError as error:
        raise TokenRequestInvalid(f"The body is {error}.") from None
