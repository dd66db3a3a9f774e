"""What `mstoken doctor` checks about credentials: those for the token service, and Google's for firebase-admin.

Google's client libraries look for application-default credentials in a file that GOOGLE_APPLICATION_CREDENTIALS names,
then in the file of `gcloud auth application-default login`, then at the metadata server (AIP-4110). Each kind can do
other things. A process needs up to three of them: to look up users (callees), to fetch identity tokens (callers with a
token service), and to sign custom tokens (the token service, and callers without one).

Sources: `_init_signing_provider` in firebase-admin's `_token_gen.py`; `fetch_id_token_credentials` in google-auth's
`id_token.py`; Google Cloud, "How Application Default Credentials works", "Troubleshoot your ADC setup" (quota project),
"Service accounts: access scopes".
"""

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from google.oauth2 import service_account

from mstoken.caller.credentials import PrivateKeyCredential
from mstoken.cli.checks import Finding
from mstoken.errors import SettingsError
from mstoken.google_credentials import CREDENTIALS_VARIABLE, gcloud_file
from mstoken.settings import Settings

QUOTA_PROJECT_VARIABLE = "GOOGLE_CLOUD_QUOTA_PROJECT"
METADATA_HOST_VARIABLE = "GCE_METADATA_HOST"
METADATA_HOST = "metadata.google.internal"
METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/?recursive=true"
CLOUD_PLATFORM_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
KEYS_ADVICE = "Create a key (mstoken keys add), and set MSTOKEN_PRIVATE_KEY_FILE."

_CREDENTIAL, _GOOGLE = "credential", "Google credentials"
_SIGN_BY_IAM = "with the role Service Account Token Creator on itself"
_IMPERSONATION = "if the account that impersonates it has the role Service Account Token Creator on it"
_LOOK_UP_BY_ROLE = "with the role Firebase Authentication Viewer"


@dataclass(frozen=True, slots=True)
class GoogleCredentials:
    """Application-default credentials: what they are, where they were found, and what they can do.

    An ability is "yes", "no", "no" with a reason, or the condition on which it depends. `problem` says what is wrong
    with the credentials themselves, `advice` what to do about it.
    """

    what: str
    where: str
    signs: str = "no"
    identity_tokens: str = "no"
    looks_up: str = "no"
    problem: str = ""
    advice: str = ""

    @property
    def text(self) -> str:
        """What they are, and what they can do, in three sentences."""
        if self.problem:
            return f"{self.where}: {self.problem}"
        abilities = (
            ("Sign custom tokens", self.signs),
            ("Fetch identity tokens", self.identity_tokens),
            ("Look up users", self.looks_up),
        )
        return f"{self.what} ({self.where}). " + " ".join(f"{name}: {ability}." for name, ability in abilities)


def check_credential(settings: Settings, service: str, credentials: GoogleCredentials | None) -> Finding:
    """Check what this process authenticates to the token service with. No token is fetched."""
    url = settings.token_service_url
    if url is None:
        return Finding(_CREDENTIAL, "ok", "none: without a token service, this process signs for itself")
    if settings.private_key_file is not None:
        return _key_file_finding(settings.private_key_file, service, url)
    if settings.emulator_host and settings.metadata_host:
        return Finding(_CREDENTIAL, "ok", f"the metadata emulator at {settings.metadata_host}")
    if credentials is None or _is_no(credentials.identity_tokens):
        text = "none: nothing here gives identity tokens for the token service"
        return Finding(_CREDENTIAL, "error", text, f"Outside Google Cloud: {KEYS_ADVICE}")
    return Finding(_CREDENTIAL, "ok", f"an identity token from {credentials.what}")


def _key_file_finding(path: Path, service: str, token_service: str) -> Finding:
    try:
        PrivateKeyCredential(service, token_service, path)
        mode = path.stat().st_mode
    except SettingsError as error:
        return Finding(_CREDENTIAL, "error", str(error), "Create a key: mstoken keys add")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        text = f"the private key in {path}, which other users of this machine can read (mode {stat.S_IMODE(mode):04o})"
        return Finding(_CREDENTIAL, "warning", text, f"chmod 600 {path}")
    return Finding(_CREDENTIAL, "ok", f"the private key in {path}")


def check_google_credentials(settings: Settings, credentials: GoogleCredentials | None) -> Finding:
    """Say what the application-default credentials can do, and whether that is enough for these settings."""
    if settings.emulator_host:
        return Finding(_GOOGLE, "ok", "not needed: the emulator looks up users and accepts any signature")
    if credentials is None:
        text = "none: neither a file nor a metadata server was found, so this process can verify no calls"
        advice = f"Run it on Google Cloud, or set {CREDENTIALS_VARIABLE}. A process that only calls needs none."
        return Finding(_GOOGLE, "warning" if _only_calls(settings) else "error", text, advice)
    if credentials.problem:
        return Finding(_GOOGLE, "error", credentials.text, credentials.advice)
    if settings.token_service_url is None and _is_no(credentials.signs):
        text = f"{credentials.text} Without a token service, this process must sign."
        return Finding(_GOOGLE, "error", text, "Set MSTOKEN_TOKEN_SERVICE_URL, or use the key of a service account.")
    if credentials.advice:
        return Finding(_GOOGLE, "warning", credentials.text, credentials.advice)
    return Finding(_GOOGLE, "ok", credentials.text)


def _is_no(ability: str) -> bool:
    return ability.partition(",")[0] == "no"


def _only_calls(settings: Settings) -> bool:
    """Return whether this process may be one that only calls: then its own key is all that it needs."""
    return settings.private_key_file is not None


def find_google_credentials(
    environment: Mapping[str, str], client: httpx.Client, *, project: str, home: Path | None = None
) -> GoogleCredentials | None:
    """Return the application-default credentials that google-auth would find, or None if there are none.

    `client` must not use a proxy: it asks the metadata server. `home` is the user's folder. No token is fetched.
    """
    file_of_gcloud = gcloud_file(environment, home or Path.home())
    if name := environment.get(CREDENTIALS_VARIABLE):
        found = _from_file(Path(name), CREDENTIALS_VARIABLE, environment, project)
    elif file_of_gcloud.is_file():
        found = _from_file(file_of_gcloud, "gcloud", environment, project)
        # google-auth takes access tokens from this file, but no identity tokens.
        found = replace(found, identity_tokens=f"no, unless {CREDENTIALS_VARIABLE} names this file")
    else:
        return _from_metadata_server(environment, client)
    if _is_no(found.identity_tokens) and not found.problem and (metadata := _from_metadata_server(environment, client)):
        return replace(found, identity_tokens=f"as {metadata.what}, from {metadata.where}")
    return found


def _from_file(path: Path, source: str, environment: Mapping[str, str], project: str) -> GoogleCredentials:
    where = f"{source}: {path}"
    broken = GoogleCredentials("a file", where, problem="it does not contain credentials of Google")
    broken = replace(broken, advice="Set the variable to another file, or unset it on Google Cloud.")
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        return replace(broken, problem=f"it cannot be read: {error.strerror}")
    except ValueError:
        return broken
    if not isinstance(content, dict):
        return broken
    match content.get("type"):
        case "service_account":
            return _service_account_key(content, where, project)
        case "impersonated_service_account":
            return _impersonated(content, where)
        case "authorized_user" | "external_account_authorized_user":
            return _user(content, where, environment)
        case "external_account":
            return _external_account(content, where)
        case str(kind):
            return replace(broken, problem=f"credentials of the type {kind[:80]!r} cannot be used with Firebase")
    return broken


def _service_account_key(content: Mapping[str, Any], where: str, project: str) -> GoogleCredentials:
    try:
        service_account.Credentials.from_service_account_info(content)
    except (ValueError, TypeError, AttributeError):  # Not repeated: it may quote the key.
        return GoogleCredentials(
            "a key", where, problem="the key of a service account is not complete", advice="Download the key again."
        )
    email = content["client_email"]
    found = GoogleCredentials(f"the key of the service account {email}", where, "yes", "yes", _LOOK_UP_BY_ROLE)
    if content.get("project_id") in (None, project):
        return found
    reason = f"no, because it does not belong to {project}, and Firebase accepts only accounts of the same project"
    return replace(found, signs=reason)


def _impersonated(content: Mapping[str, Any], where: str) -> GoogleCredentials:
    email = _account_in(content) or "a service account"
    return GoogleCredentials(
        f"the service account {email}, impersonated",
        where,
        signs=_IMPERSONATION,
        identity_tokens=_IMPERSONATION,
        looks_up=_LOOK_UP_BY_ROLE,
    )


def _user(content: Mapping[str, Any], where: str, environment: Mapping[str, str]) -> GoogleCredentials:
    found = GoogleCredentials("the credentials of a person, from gcloud", where, looks_up=_LOOK_UP_BY_ROLE)
    if content.get("quota_project_id") or environment.get(QUOTA_PROJECT_VARIABLE):
        return found
    advice = "Set a quota project: gcloud auth application-default set-quota-project PROJECT"
    return replace(found, looks_up="no, without a quota project", advice=advice)


def _external_account(content: Mapping[str, Any], where: str) -> GoogleCredentials:
    email = _account_in(content)
    principal = f"as the service account {email}" if email else "as a principal of the workload identity pool"
    return GoogleCredentials(f"workload identity federation, {principal}", where, looks_up=_LOOK_UP_BY_ROLE)


def _account_in(content: Mapping[str, Any]) -> str | None:
    """Return the e-mail address of the service account in the URL with which google-auth impersonates it."""
    url = content.get("service_account_impersonation_url")
    return url.rpartition("/")[2].partition(":")[0] if isinstance(url, str) else None


def _from_metadata_server(environment: Mapping[str, str], client: httpx.Client) -> GoogleCredentials | None:
    host = environment.get(METADATA_HOST_VARIABLE) or METADATA_HOST
    where = f"the metadata server at {host}"
    try:
        answer = client.get(f"http://{host}{METADATA_PATH}", headers={"Metadata-Flavor": "Google"})
        content = answer.json() if answer.is_success else {}
    except (httpx.HTTPError, ValueError):
        return None
    if answer.headers.get("Metadata-Flavor") != "Google":
        return None
    if not isinstance(content, dict) or "email" not in content:
        return GoogleCredentials(
            "a machine",
            where,
            problem="this machine has no service account",
            advice="Give the machine a service account, and start it again.",
        )
    found = GoogleCredentials(f"the service account {content['email']}", where, _SIGN_BY_IAM, "yes", _LOOK_UP_BY_ROLE)
    scopes = content.get("scopes")
    if isinstance(scopes, list) and CLOUD_PLATFORM_SCOPE not in scopes:
        reason = "no, because the machine does not have the access scope cloud-platform"
        advice = "Set the access scope of the machine to cloud-platform. Roles then decide what it may do."
        return replace(found, signs=reason, looks_up=reason, advice=advice)
    return found
