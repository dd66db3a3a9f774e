"""What `mstoken doctor --production` finds out about roles: it tries what each role allows, and sees what fails.

Nothing is changed by that. One look-up is made, IAM is asked for one signature that is thrown away, and the token
service is asked for a token that no policy allows.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Protocol

import httpx
from google.auth.exceptions import GoogleAuthError
from typing_extensions import override

from mstoken.admin import AdminApp
from mstoken.callee.firebase import AdminDirectory
from mstoken.caller.answers import json_member
from mstoken.caller.credentials import Credential, GoogleIdentity, PrivateKeyCredential
from mstoken.claims import service_uid
from mstoken.cli.checks import CheckState, Finding
from mstoken.errors import MsTokenError, SettingsError, VerifierUnavailable
from mstoken.settings import Settings
from mstoken.wire import BEARER_SCHEME

NO_SERVICE = "doctor-no-such-service"
"""An audience that no policy has. A token service that has accepted the credential refuses it."""
SIGNER = "Service Account Token Creator (roles/iam.serviceAccountTokenCreator)"
VIEWER = "Firebase Authentication Viewer (roles/firebaseauth.viewer)"
_FORBIDDEN = ("403", "PERMISSION_DENIED")


class Abilities(Protocol):
    """What this process may do at Google. Every method tries it."""

    async def look_up(self, uid: str) -> None:
        """Look up an identity, which need not exist. Raises `VerifierUnavailable`."""
        ...

    def sign(self, message: bytes) -> None:
        """Sign a message as this process's account. Raises errors of google-auth."""
        ...

    async def assertion(self, uid: str) -> str:
        """Return what this process authenticates to the token service with. Raises `MsTokenError`."""
        ...


class GoogleAbilities(Abilities):
    """What the credentials of this process allow at Google."""

    def __init__(self, settings: Settings, service: str) -> None:
        self._settings = settings
        self._service = service

    @override
    async def look_up(self, uid: str) -> None:
        await AdminDirectory(self._settings).look_up([uid])

    @override
    def sign(self, message: bytes) -> None:
        AdminApp(self._settings).get().credential.get_credential().sign_bytes(message)

    @override
    async def assertion(self, uid: str) -> str:
        url, key_file = self._settings.token_service_url or "", self._settings.private_key_file
        credential: Credential = PrivateKeyCredential(self._service, url, key_file) if key_file else GoogleIdentity(url)
        return await credential.assertion(uid)


MakeAbilities = Callable[[Settings, str], Abilities]


def check_look_up(settings: Settings, service: str, abilities: Abilities) -> Finding:
    """Look up the identity of the service: callees do this for each caller."""
    name = "role: look up"
    try:
        asyncio.run(abilities.look_up(service_uid(service)))
    except VerifierUnavailable as error:
        text = f"identities cannot be looked up: {error.reason}"
        return Finding(name, "error", text, f"Give the account the role {VIEWER}, or check the network to Google.")
    except SettingsError as error:
        state: CheckState = "warning" if settings.private_key_file else "error"
        return Finding(
            name, state, str(error), "A callee needs Google's credentials. A process that only calls needs none."
        )
    return Finding(name, "ok", "identities can be looked up")


def check_cannot_sign(settings: Settings, service: str, abilities: Abilities) -> Finding:
    """Check that this process cannot sign custom tokens. Only the token service may: a signer can become anyone."""
    name = "role: sign"
    if settings.token_service_url is None:
        return Finding(name, "warning", "not tried: without a token service, this process must sign")
    try:
        # Not the form of a JWT, so the signature is worth nothing.
        abilities.sign(b"mstoken doctor " + secrets.token_bytes(16))
    except (GoogleAuthError, MsTokenError, AttributeError, NotImplementedError) as error:
        if isinstance(error, GoogleAuthError) and not any(sign in str(error) for sign in _FORBIDDEN):
            text = f"whether this process can sign is not known ({type(error).__name__})"
            return Finding(name, "warning", text, "Run the check again.")
        return Finding(name, "ok", "this process cannot sign custom tokens")
    text = "this process can sign custom tokens: anyone who takes it over can become any service and any user"
    return Finding(name, "error", text, f"Take the role {SIGNER} away from the account of {service}.")


def check_policy(settings: Settings, service: str, abilities: Abilities, client: httpx.Client) -> Finding:
    """Check that the token service knows this service, by a request for a token that no policy allows."""
    name, url = "policy", settings.token_service_url
    if url is None:
        return Finding(name, "warning", "not asked: there is no token service")
    try:
        assertion = asyncio.run(abilities.assertion(service_uid(service)))
        answer = client.post(
            url,
            json={"audience": NO_SERVICE, "mode": "fresh"},
            headers={"Authorization": f"{BEARER_SCHEME} {assertion}"},
        )
    except MsTokenError as error:
        return Finding(name, "error", str(error), "Run this check where the service runs.")
    except httpx.HTTPError as error:
        return Finding(
            name, "error", f"{url} could not be reached ({type(error).__name__})", "Check the function token."
        )
    code = str(json_member(answer, "code") or "")[:80]
    match code:
        case "audience_not_allowed":
            return Finding(name, "ok", "the token service accepts the credential of this process")
        case "credential_unknown":
            advice = "Add the account or the key to the policy, and deploy the functions."
            return Finding(name, "error", "the policy does not list the credential of this process", advice)
        case "identity_disabled":
            return Finding(name, "error", f"{service} is disabled", f"mstoken services enable {service}")
    text = f"the token service answered {answer.status_code} {code}".rstrip()
    advice = "Read the log of the function token. MSTOKEN_TOKEN_SERVICE_URL must be the same everywhere."
    return Finding(name, "error", text, advice)
