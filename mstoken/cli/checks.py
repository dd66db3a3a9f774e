"""What `mstoken doctor` checks: one function for each part of the setup, with advice on what to do about an error.

Larger parts have modules of their own: `emulator_checks`, `certificate_checks` (with the clock), `replay_checks`,
`status_checks` and `credential_checks`.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import httpx
from pydantic import SecretStr

from mstoken.caller.answers import json_member, pause_seconds
from mstoken.errors import SettingsError
from mstoken.settings import Settings
from mstoken.wire import API_KEY_HEADER

CheckState: TypeAlias = Literal["ok", "warning", "error"]

NOT_A_TOKEN = "not-a-token"

CLOUD_RUN_VARIABLE = "K_SERVICE"
"""Set on Cloud Run and for Firebase functions, which run there (Cloud Run, "Container runtime contract")."""

_WEB_API_KEY = "the web API key is in the Firebase console, under project settings"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: its `name`, the state, a text that says what was found, and advice if there is any."""

    name: str
    state: CheckState
    text: str
    advice: str = ""


def settings_finding(error: SettingsError | None) -> Finding:
    """Report whether the settings are valid; `error` says why not."""
    if error is None:
        return Finding("settings", "ok", "valid")
    return Finding(
        "settings",
        "error",
        str(error),
        "Correct these variables. All of them: https://github.com/mstoken/mstoken#settings",
    )


def check_api_key(settings: Settings, client: httpx.Client) -> Finding:
    """Check that Firebase accepts the API key, with a sign-in that must fail for another reason.

    Source: Google Cloud, "Use API keys" (API_KEY_INVALID); Firebase Auth REST API (INVALID_CUSTOM_TOKEN).
    """
    name = "API key"
    if settings.emulator_host:
        return Finding(name, "ok", "the emulator accepts any key")
    if settings.api_key is None:
        text = "MSTOKEN_API_KEY is not set"
        return Finding(name, "warning", text, f"A service that calls others needs it; {_WEB_API_KEY}.")
    url = f"{settings.identity_toolkit_url}/accounts:signInWithCustomToken"
    try:
        response = client.post(url, headers={API_KEY_HEADER: settings.web_api_key}, json={"token": NOT_A_TOKEN})
    except httpx.HTTPError as error:
        text = f"Firebase could not be reached ({type(error).__name__})"
        return Finding(name, "error", text, "Allow HTTPS from this machine to identitytoolkit.googleapis.com.")
    return _api_key_finding(name, response, settings.api_key)


def _api_key_finding(name: str, response: httpx.Response, key: SecretStr) -> Finding:
    message = str(json_member(response, "error", "message") or "").replace(key.get_secret_value(), "(hidden)")
    code = message.partition(" :")[0][:120]
    if code == "INVALID_CUSTOM_TOKEN":
        return Finding(name, "ok", "Firebase accepts it")
    text = f"Firebase answered {response.status_code} {code}".rstrip()
    if pause_seconds(response) is not None:
        return Finding(name, "warning", f"{text}, so the key could not be checked", "Try again later.")
    if code == "CONFIGURATION_NOT_FOUND":
        return Finding(name, "error", text, "Enable Authentication for the project in the Firebase console.")
    if response.status_code == httpx.codes.FORBIDDEN:
        return Finding(name, "error", text, "Allow the key to call the Identity Toolkit API from this machine.")
    return Finding(name, "error", text, f"Set MSTOKEN_API_KEY to a valid key; {_WEB_API_KEY}.")


def check_token_service(settings: Settings, client: httpx.Client) -> Finding:
    """Check that the token service answers, with a request without a credential, which it must refuse."""
    name, url = "token service", settings.token_service_url
    if url is None:
        if settings.emulator_host:
            return Finding(name, "ok", "none: this process signs its own custom tokens, which is fine on a laptop")
        text = "none: a process that may sign custom tokens can become any service and any user"
        advice = "Set MSTOKEN_TOKEN_SERVICE_URL, and remove the role Service Account Token Creator from this process."
        return Finding(name, "warning", text, advice)
    try:
        response = client.post(url)
    except httpx.HTTPError as error:
        text = f"{url} could not be reached ({type(error).__name__})"
        return Finding(name, "error", text, "Check MSTOKEN_TOKEN_SERVICE_URL, and that the function is deployed.")
    code = str(json_member(response, "code") or "")[:80]
    if response.status_code == httpx.codes.UNAUTHORIZED and code == "credential_missing":
        return Finding(name, "ok", f"{url} answers")
    text = f"{url} answered {response.status_code} {code}".rstrip()
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        advice = "Allow all invokers for the function token: it authenticates its callers itself."
        return Finding(name, "error", text, advice)
    if response.is_server_error:
        return Finding(name, "error", text, "Read the function's log: firebase functions:log --only token")
    return Finding(name, "error", text, "Set MSTOKEN_TOKEN_SERVICE_URL to the URL of the function token.")


def check_base_url(settings: Settings) -> Finding:
    """Check that this service could verify proofs."""
    name = "base URL"
    if settings.base_url is None:
        text = "MSTOKEN_BASE_URL is not set, so calls with bound tokens are answered with 503"
        return Finding(name, "warning", text, "If other services call this one, set it to the URL that they use.")
    return Finding(name, "ok", settings.base_url)
