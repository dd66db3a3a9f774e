"""What `mstoken doctor` looks at: one function for each thing that may be wrong, with what to do about it."""

import asyncio
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import httpx
from cryptography import x509
from pydantic import SecretStr

from mstoken.callee.replay.factory import replay_store
from mstoken.caller.credentials import RegisteredKey
from mstoken.caller.exchange import member
from mstoken.errors import SettingsError, VerifierUnavailable
from mstoken.settings import AUTH_EMULATOR_VARIABLE, DEMO_PREFIX, Settings
from mstoken.wire import CLOCK_SKEW_SECONDS

State: TypeAlias = Literal["ok", "warning", "fault"]

SKEW_WARNING_SECONDS = 2.0
FILE_WARNING_SECONDS = 3 * 86_400
"""How long before the last certificate of a file expires there is a warning."""
NO_TOKEN = "not-a-token"

CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
CLOUD_RUN_VARIABLE = "K_SERVICE"
"""Set on Cloud Run, and for Firebase functions, which run there (Cloud Run, "Container runtime contract")."""
FUNCTIONS_EMULATOR_VARIABLE = "FUNCTIONS_EMULATOR"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: its `name`, the state, what is so, and what to do about it, if anything."""

    name: str
    state: State
    says: str
    do: str = ""


class Published(NamedTuple):
    """An answer with certificates, and our clock's seconds since the epoch when it was asked for and when it came."""

    response: httpx.Response
    asked_at: float
    came_at: float


def settings_finding(error: SettingsError | None) -> Finding:
    """Whether the settings can be read."""
    if error is None:
        return Finding("settings", "ok", "they can be read")
    return Finding("settings", "fault", str(error), "Mend these variables; README.md has a table of them all.")


def check_emulator(environment: Mapping[str, str]) -> Finding:
    """Whether tokens are verified at all: firebase-admin verifies no signature while the emulator's variable is set."""
    host, project = environment.get(AUTH_EMULATOR_VARIABLE), environment.get("GOOGLE_CLOUD_PROJECT", "")
    if not host:
        return Finding("emulator", "ok", f"{AUTH_EMULATOR_VARIABLE} is not set: this is production")
    do = f"Unset {AUTH_EMULATOR_VARIABLE}: while it is set, firebase-admin verifies no signature."
    if environment.get(CLOUD_RUN_VARIABLE) and environment.get(FUNCTIONS_EMULATOR_VARIABLE) != "true":
        return Finding("emulator", "fault", f"{AUTH_EMULATOR_VARIABLE} is {host}, and this is Cloud Run", do)
    if not project.startswith(DEMO_PREFIX):
        says = f"{AUTH_EMULATOR_VARIABLE} is {host}, and the project {project!r} may be a real one"
        return Finding("emulator", "fault", says, f"{do} On a laptop take a project that begins with {DEMO_PREFIX!r}.")
    return Finding("emulator", "ok", f"the project {project} is on the emulator at {host}")


def check_certificates(
    settings: Settings, client: httpx.Client, clock: Callable[[], float]
) -> tuple[Finding, Published | None]:
    """Whether there are certificates to verify tokens with; also the answer that they came in, if they did."""
    name, published = "certificates", None
    file = settings.certificates_file
    try:
        if file is None:
            asked_at = clock()
            response = client.get(settings.certificates_url)
            published = Published(response, asked_at, clock())
            response.raise_for_status()
            content = response.content
        else:
            content = file.read_bytes()
        ends = _ends(content)
    except httpx.HTTPStatusError as error:
        says = f"{settings.certificates_url} answered {error.response.status_code}"
        do = (
            "Is this the signed emulator (python -m emulator.local.signed_auth)?"
            if settings.emulator_host
            else _GET_OUT
        )
        return Finding(name, "fault", says, do), published
    except httpx.HTTPError as error:
        says = f"{settings.certificates_url} could not be reached ({type(error).__name__})"
        return Finding(name, "fault", says, "Start it." if settings.emulator_host else _GET_OUT), published
    except OSError as error:
        says = f"{file} cannot be read: {error.strerror}"
        return Finding(name, "fault", says, "Put Google's certificates there, or unset the variable."), published
    except ValueError:
        says = f"{file or settings.certificates_url} has no certificates in Google's format"
        return Finding(name, "fault", says, f"They are as {_GOOGLES} has them."), published
    return _certificates_finding(name, ends, clock(), file), published


_GOOGLES = "https://www.googleapis.com/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
_GET_OUT = "Let this machine call www.googleapis.com by HTTPS, or keep them in a file (MSTOKEN_CERTIFICATES_FILE)."


def _certificates_finding(name: str, ends: list[float], now: float, file: Path | None) -> Finding:
    first, last = min(ends), max(ends)
    if last <= now:
        do = "Renew the file." if file else "Is the clock of this machine right?"
        return Finding(name, "fault", f"all {len(ends)} have expired, the last on {_day(last)}", do)
    says = f"{len(ends)}, the first {'expired' if first <= now else 'expires'} on {_day(first)}"
    if file and last - now < FILE_WARNING_SECONDS:
        return Finding(name, "warning", f"{says}, the last on {_day(last)}", "Renew the file, and have it renewed.")
    return Finding(name, "ok", says)


def _ends(content: bytes) -> list[float]:
    """When each certificate expires, in seconds since the epoch. Raises ValueError where they are none."""
    value = json.loads(content)
    if not isinstance(value, dict) or not value:
        raise ValueError("not a JSON object of key ids and certificates")
    return [x509.load_pem_x509_certificate(str(pem).encode()).not_valid_after_utc.timestamp() for pem in value.values()]


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")


def check_clock(published: Published | None) -> Finding:
    """Whether this clock and that of Google agree, by the `Date` of the answer with the certificates.

    That has whole seconds, so half of one is added; with `Age`, it is of when a cache on the way got the answer.
    """
    name = "clock"
    if published is None:
        says = "not compared: nothing was fetched from Google"
        return Finding(name, "warning", says, "See that this machine sets its clock by NTP.")
    headers, ours = published.response.headers, (published.asked_at + published.came_at) / 2
    try:
        theirs = parsedate_to_datetime(headers.get("Date", "")).timestamp() + 0.5
    except ValueError:
        return Finding(name, "warning", "not compared: the answer with the certificates has no date")
    age = headers.get("Age", "")
    difference = ours - theirs - (float(age) if age.isdecimal() else 0.0)
    says = f"{abs(difference):.1f} s {'ahead of' if difference > 0 else 'behind'} that of the certificates' publisher"
    do = f"Set this machine's clock by NTP: {CLOCK_SKEW_SECONDS} s are allowed."
    if abs(difference) > CLOCK_SKEW_SECONDS:
        return Finding(name, "fault", f"{says}: tokens are refused for it", do)
    return Finding(name, "warning", says, do) if abs(difference) > SKEW_WARNING_SECONDS else Finding(name, "ok", says)


def check_replay_store(settings: Settings, service: str) -> Finding:
    """Whether ids can be spent, by spending one of our own making."""
    name, scheme = "replay store", settings.replay_url.partition(":")[0]
    try:
        asyncio.run(_spend_one(settings.replay_url, service))
    except VerifierUnavailable as error:
        do = "Is it up, and does MSTOKEN_REPLAY_URL name it?"
        if scheme == "sqlite":
            do = "Let MSTOKEN_REPLAY_URL name a file that this process can write to: sqlite:////absolute/path."
        return Finding(name, "fault", _without_secrets(str(error), settings.replay_url), do)
    except SettingsError as error:
        do = "Mend MSTOKEN_REPLAY_URL: sqlite:///path, redis://host, or memory: for a single process."
        return Finding(name, "fault", _without_secrets(str(error), settings.replay_url), do)
    return _replay_finding(name, scheme, settings)


def _replay_finding(name: str, scheme: str, settings: Settings) -> Finding:
    """What to say of a store that works."""
    production = settings.emulator_host is None
    if scheme == "memory":
        says = "the memory of a single process: after a restart, and in another process, a token would count again"
        return Finding(name, "warning", says, "Take sqlite:///path for one machine, redis://host for more.")
    if scheme != "sqlite":
        return Finding(name, "ok", f"{scheme}: an id was spent, once")
    path = Path(settings.replay_url.removeprefix("sqlite:///"))
    says = f"{path.absolute()}: an id was spent, once"
    if production and os.environ.get(CLOUD_RUN_VARIABLE):
        do = "Take redis://host: every instance on Cloud Run has files of its own."
        return Finding(name, "warning", says, do)
    if production and not path.is_absolute():
        do = "Say sqlite:////absolute/path: workers that start in different folders would have a file each."
        return Finding(name, "warning", says, do)
    return Finding(name, "ok", says)


async def _spend_one(url: str, service: str) -> None:
    """Spends an id of our own. Raises `VerifierUnavailable` where that fails, or can be done twice."""
    store = replay_store(url, service)
    try:
        await store.ready()
        one_time_id = f"doctor.{secrets.token_urlsafe(16)}"
        soon = datetime.now(UTC).timestamp() + 60
        if not await store.spend(one_time_id, soon) or await store.spend(one_time_id, soon):
            raise VerifierUnavailable("The store of spent ids does not remember what is spent.")
    finally:
        await store.aclose()


def _without_secrets(text: str, url: str) -> str:
    """`text` without what may be a password in `url`, or a piece of one: a colon or slash in it cuts it up."""
    authority, at, _ = url.partition("://")[2].rpartition("@")
    pieces = [] if not at else [authority, *authority.replace("/", ":").replace("#", ":").replace("?", ":").split(":")]
    for piece in sorted((piece for piece in pieces if piece), key=len, reverse=True):
        text = text.replace(piece, "(hidden)")
    return text


def check_api_key(settings: Settings, client: httpx.Client) -> Finding:
    """Whether Firebase takes the API key, by a sign-in that is bound to fail.

    Source: Google Cloud, "Use API keys" (API_KEY_INVALID); Firebase Auth REST API (INVALID_CUSTOM_TOKEN).
    """
    name = "API key"
    if settings.emulator_host:
        return Finding(name, "ok", "on the emulator any will do")
    if settings.api_key is None:
        says = "MSTOKEN_API_KEY is not set"
        return Finding(name, "warning", says, f"A service that calls others needs it: {_CONSOLE}.")
    url = f"{settings.identity_toolkit_url}/accounts:signInWithCustomToken"
    try:
        response = client.post(url, params={"key": settings.web_api_key}, json={"token": NO_TOKEN})
    except httpx.HTTPError as error:
        says = f"Firebase could not be reached ({type(error).__name__})"
        return Finding(name, "fault", says, "Let this machine call identitytoolkit.googleapis.com by HTTPS.")
    return _api_key_finding(name, response, settings.api_key)


_CONSOLE = "the web API key is in the Firebase console's project settings"


def _api_key_finding(name: str, response: httpx.Response, key: SecretStr) -> Finding:
    message = str(member(response, "error", "message") or "").replace(key.get_secret_value(), "(hidden)")
    code = message.partition(" :")[0][:120]
    if code == "INVALID_CUSTOM_TOKEN":
        return Finding(name, "ok", "Firebase takes it")
    says = f"Firebase answered {response.status_code} {code}".rstrip()
    if response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return Finding(name, "warning", f"{says}: whether it takes the key is not known", "Try again later.")
    if code == "CONFIGURATION_NOT_FOUND":
        return Finding(name, "fault", says, "Switch on Authentication for the project in the Firebase console.")
    if response.status_code == httpx.codes.FORBIDDEN:
        return Finding(name, "fault", says, "Let the key call the Identity Toolkit API, from servers like this one.")
    return Finding(name, "fault", says, f"Set MSTOKEN_API_KEY to another: {_CONSOLE}.")


def check_token_service(settings: Settings, client: httpx.Client) -> Finding:
    """Whether the token service is there, by a request without a credential, which it has to refuse."""
    name, url = "token service", settings.token_service_url
    if url is None:
        if settings.emulator_host:
            return Finding(name, "ok", "none: custom tokens are signed here, which is right for a laptop")
        says = "none: a process that may sign custom tokens itself may be anybody, an administrator too"
        do = "Set MSTOKEN_TOKEN_SERVICE_URL, and take the role Service Account Token Creator from this process."
        return Finding(name, "warning", says, do)
    try:
        response = client.post(url)
    except httpx.HTTPError as error:
        says = f"{url} could not be reached ({type(error).__name__})"
        return Finding(name, "fault", says, "Is MSTOKEN_TOKEN_SERVICE_URL right, and the function deployed?")
    code = str(member(response, "code") or "")[:80]
    if response.status_code == httpx.codes.UNAUTHORIZED and code == "credential_missing":
        return Finding(name, "ok", f"{url} wants a credential, as it should")
    says = f"{url} answered {response.status_code} {code}".rstrip()
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        do = "Let everybody invoke the function: it tells its callers apart itself."
        return Finding(name, "fault", says, do)
    if response.is_server_error:
        return Finding(name, "fault", says, "The function's log says why: firebase functions:log --only token")
    return Finding(name, "fault", says, "Is MSTOKEN_TOKEN_SERVICE_URL that of the function token?")


def check_credential(settings: Settings, service: str, environment: Mapping[str, str]) -> Finding:
    """What this process would prove itself with to the token service. No token is fetched."""
    name = "credential"
    key_file, file = settings.private_key_file, environment.get(CREDENTIALS_VARIABLE)
    if settings.token_service_url is not None and key_file is not None:
        return _key_finding(name, key_file, service, settings.token_service_url)
    if file:
        return _credentials_file_finding(name, Path(file), identity_tokens=settings.token_service_url is not None)
    if settings.emulator_host and settings.token_service_url is None:
        return Finding(name, "ok", "none is needed on the emulator")
    if settings.metadata_host and settings.emulator_host:
        return Finding(name, "ok", f"the metadata emulator at {settings.metadata_host}")
    says = "the metadata server, which there is on Google Cloud only"
    if environment.get(CLOUD_RUN_VARIABLE):
        return Finding(name, "ok", says)
    do = "Elsewhere register a key (mstoken keys add), and set MSTOKEN_PRIVATE_KEY_FILE."
    return Finding(name, "warning", says, do)


def _key_finding(name: str, path: Path, service: str, token_service: str) -> Finding:
    try:
        RegisteredKey(service, token_service, path)
        mode = path.stat().st_mode
    except SettingsError as error:
        return Finding(name, "fault", str(error), "Make one: mstoken keys add")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        says = f"the private key in {path}, which others on this machine may read ({stat.S_IMODE(mode):04o})"
        return Finding(name, "warning", says, f"chmod 600 {path}")
    return Finding(name, "ok", f"the private key in {path}")


def _credentials_file_finding(name: str, path: Path, *, identity_tokens: bool) -> Finding:
    """The file that google-auth reads; only a service account's gives identity tokens (AIP-4110)."""
    kind: object = None
    try:
        with suppress(ValueError):
            content = json.loads(path.read_bytes())
            kind = content.get("type") if isinstance(content, dict) else None
    except OSError as error:
        says = f"{CREDENTIALS_VARIABLE} is {path}, which cannot be read: {error.strerror}"
        return Finding(name, "fault", says, "Name another file, or unset the variable.")
    if kind == "service_account" or (isinstance(kind, str) and not identity_tokens):
        return Finding(name, "ok", f"{CREDENTIALS_VARIABLE}: {path}, of the type {kind}")
    says = f"{CREDENTIALS_VARIABLE} is {path}, which is no service account's key"
    return Finding(name, "fault", says, "Unset it on Google Cloud; elsewhere register a key (mstoken keys add).")


def check_base_url(settings: Settings) -> Finding:
    """Whether this service could check proofs."""
    name = "base URL"
    if settings.base_url is None:
        says = "MSTOKEN_BASE_URL is not set: calls with bound tokens are answered 503"
        return Finding(name, "warning", says, "If others call this service, set what its URLs begin with for them.")
    return Finding(name, "ok", settings.base_url)
