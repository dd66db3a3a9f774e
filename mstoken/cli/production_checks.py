"""What `mstoken doctor --production` checks besides the rest: what is right on a laptop, and wrong in production.

docs/production.md, "The check list", has the same list, with the points that only a person can check.
"""

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

import httpx

from mstoken.callee.replay.factory import platform_without_shared_disk
from mstoken.cli.checks import CheckState, Finding
from mstoken.cli.credential_checks import METADATA_HOST, GoogleCredentials
from mstoken.emulator.addresses import FUNCTIONS_VARIABLE, METADATA_VARIABLES
from mstoken.settings import AUTH_EMULATOR_VARIABLE, DEMO_PREFIX, Settings

EMULATOR_VARIABLES = (
    *(AUTH_EMULATOR_VARIABLE, FUNCTIONS_VARIABLE, "FUNCTIONS_EMULATOR", "FIREBASE_EMULATOR_HUB"),
    *("CLOUD_TASKS_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST", "FIREBASE_DATABASE_EMULATOR_HOST"),
    *("FIREBASE_STORAGE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "EVENTARC_EMULATOR"),
    *METADATA_VARIABLES,
    "GCE_METADATA_ROOT",
)
"""Variables that make Google's libraries, firebase-admin or `mstoken` use an emulator."""
PROJECT_PATH = "/computeMetadata/v1/project/project-id"
DEFAULT_ACCOUNTS = ("-compute@developer.gserviceaccount.com", "@appspot.gserviceaccount.com")
"""The ends of the accounts that Google makes for a project. Many of them are Editors, so they can sign."""
TRUSTED_PROXIES_VARIABLE = "TRUSTED_PROXIES"
"""How many proxies of ours a request passes, for a service that limits attempts by the client's address."""
FORWARDED_ALLOW_IPS_VARIABLE = "FORWARDED_ALLOW_IPS"
"""Whose X-Forwarded-For uvicorn and gunicorn believe."""
FINGERPRINT_CHARACTERS = 8
STRICT = ("token service", "replay store", "base URL", "clock")
"""The checks whose warnings are errors in production."""


def strict(finding: Finding) -> Finding:
    """Return the finding of another check as production takes it: some warnings are errors there."""
    if finding.state == "warning" and finding.name in STRICT:
        return Finding(finding.name, "error", finding.text, finding.advice)
    return finding


def check_emulator_variables(environment: Mapping[str, str]) -> Finding:
    """Check that nothing in the environment names an emulator."""
    name = "emulator variables"
    found = [variable for variable in EMULATOR_VARIABLES if environment.get(variable)]
    if not found:
        return Finding(name, "ok", "none is set")
    return Finding(
        name, "error", f"{', '.join(found)} {'is' if len(found) == 1 else 'are'} set", "Unset what is named."
    )


def check_project(settings: Settings, credentials: GoogleCredentials | None, near: httpx.Client) -> Finding:
    """Check that the project is a real one, and the one in which this process runs.

    Google's metadata server tells the latter (Compute Engine, "Predefined metadata keys"). A token of another project
    is refused, so a copied variable stops all calls.
    """
    name, project = "project", settings.project_id
    if project.startswith(DEMO_PREFIX):
        return Finding(name, "error", f"{project} exists on emulators only", "Set GOOGLE_CLOUD_PROJECT.")
    if credentials is None or "the metadata server" not in credentials.where:
        return Finding(
            name, "ok", f"{project}; where this process runs is not known, because it is not on Google Cloud"
        )
    try:
        answer = near.get(f"http://{METADATA_HOST}{PROJECT_PATH}", headers={"Metadata-Flavor": "Google"})
        here = answer.text.strip() if answer.is_success else ""
    except httpx.HTTPError:
        here = ""
    if not here:
        return Finding(name, "warning", f"{project}; the metadata server did not tell its own", "Run the check again.")
    if here != project:
        text = f"GOOGLE_CLOUD_PROJECT is {project}, and this process runs in {here[:80]}"
        return Finding(
            name, "error", text, "Set it to the Firebase project whose tokens this service issues and accepts."
        )
    return Finding(name, "ok", f"{project}, in which this process runs")


def check_account(credentials: GoogleCredentials | None) -> Finding:
    """Check that this process runs as a service account of its own, without a key."""
    name = "account"
    if credentials is None:
        return Finding(name, "ok", "none of Google's: this service has its own key, or needs none")
    if any(end in credentials.what for end in DEFAULT_ACCOUNTS):
        text = f"{credentials.what} is the default of the project, which can often act as every other account"
        return Finding(name, "error", text, "Give each service an account of its own (docs/production.md).")
    if credentials.what.startswith("the key of"):
        text = f"{credentials.what}: anyone who copies the file can act as this service, and can sign custom tokens"
        return Finding(name, "error", text, "Delete the key, and let the platform provide the account.")
    if credentials.what.startswith("the credentials of a person"):
        return Finding(name, "error", credentials.what, "Run this check where the service runs.")
    return Finding(name, "ok", credentials.what)


def check_store_is_shared(settings: Settings, environment: Mapping[str, str] = os.environ) -> Finding:
    """Check that every instance of the service can use the store of spent ids."""
    name = "shared store"
    scheme, _, rest = settings.replay_url.partition(":")
    if scheme in ("memory", "sqlite"):
        where = "one process" if scheme == "memory" else "one machine"
        if settings.single_instance:
            return Finding(
                name, "ok", f"{scheme}: of {where}, and MSTOKEN_SINGLE_INSTANCE says that there is one instance"
            )
        state: CheckState = (
            "error" if scheme == "memory" or platform_without_shared_disk(settings, environment) else "warning"
        )
        text = f"{scheme}: is of {where}, so a second instance accepts a used token again"
        return Finding(name, state, text, "Set MSTOKEN_REPLAY_URL to a Redis or PostgreSQL, or to firestore:.")
    if scheme == "firestore":
        return Finding(name, "ok", "firestore: is the same for all instances")
    host = _host(rest)
    if scheme == "unix" or host is None or _is_this_machine(host):
        text = f"{scheme}: at {host or 'a socket'} is on this machine, so another machine has another store"
        return Finding(name, "error", text, "Set MSTOKEN_REPLAY_URL to an address that all instances reach.")
    return Finding(name, "ok", f"{scheme}: at {host}; each instance must say the same")


def check_nonce_secret(settings: Settings, same_as: str | None) -> Finding:
    """Check that the secret of nonces is that of the other processes, of which one printed `same_as`.

    Only a fingerprint is shown and compared, never the secret.
    """
    name = "nonce secret"
    if settings.nonce_secret is None:
        if same_as is not None:
            text = "MSTOKEN_NONCE_SECRET is not set here, and it is where the fingerprint comes from"
            return Finding(name, "error", text, "Set it in all processes of the service, or in none.")
        return Finding(name, "ok", "not used: proofs need no nonce")
    found = fingerprint(settings.nonce_secret.get_secret_value())
    if same_as is None:
        text = f"fingerprint {found}; compare it: mstoken doctor --production --same-as {found}"
        return Finding(name, "ok", text)
    if not hmac.compare_digest(found, same_as.strip().lower()):
        text = f"its fingerprint is {found}, and that of the other process is {same_as[:40]}"
        return Finding(name, "error", text, "Give all processes of the service the same version of the secret.")
    return Finding(name, "ok", f"fingerprint {found}, the same as in the other process")


def fingerprint(secret: str) -> str:
    """Return eight characters by which two processes find out that they have the same secret.

    It is an HMAC under a name of its own, so it tells nothing about what else is made of the secret.
    """
    return hmac.digest(secret.encode(), b"mstoken doctor", hashlib.sha256).hex()[:FINGERPRINT_CHARACTERS]


def check_base_url_answers(settings: Settings, client: httpx.Client) -> Finding:
    """Check that a server answers at the URL that proofs are checked against, over HTTPS and without a redirection."""
    name, url = "service", settings.base_url
    if url is None:
        return Finding(name, "warning", "not asked, because MSTOKEN_BASE_URL is not set")
    if not url.startswith("https:"):
        text = f"{url} does not use https, so anyone on the way can read tokens"
        return Finding(name, "error", text, "Set MSTOKEN_BASE_URL to an https URL.")
    try:
        answer = client.get(url, follow_redirects=False)
    except httpx.HTTPError as error:
        text = f"{url} could not be reached ({type(error).__name__})"
        return Finding(name, "error", text, "Check MSTOKEN_BASE_URL, its certificate, and that the service runs.")
    if answer.is_server_error:
        return Finding(name, "error", f"{url} answered {answer.status_code}", "Read the log of the service.")
    if answer.has_redirect_location:
        text = f"{url} answered {answer.status_code} and sends callers elsewhere, where their proofs do not fit"
        return Finding(name, "error", text, "Set MSTOKEN_BASE_URL to the URL that callers use.")
    return Finding(name, "ok", f"{url} answers")


def check_forwarded_addresses(settings: Settings, environment: Mapping[str, str]) -> Finding:
    """Check that the client's address comes from our own proxies, as far as variables tell it."""
    name = "forwarded addresses"
    believed = [part.strip() for part in environment.get(FORWARDED_ALLOW_IPS_VARIABLE, "").split(",")]
    if "*" in believed:
        text = (
            f"{FORWARDED_ALLOW_IPS_VARIABLE} has *: the first entry of X-Forwarded-For counts, and the client writes it"
        )
        return Finding(name, "error", text, "Unset it, and start uvicorn with --no-proxy-headers.")
    proxies = environment.get(TRUSTED_PROXIES_VARIABLE, "").strip()
    if not proxies:
        return Finding(name, "ok", f"not used by this service: {TRUSTED_PROXIES_VARIABLE} is not set")
    platform = platform_without_shared_disk(settings, environment)
    if proxies == "0" and platform:
        text = f"{TRUSTED_PROXIES_VARIABLE} is 0, and on {platform} every request comes from a proxy"
        return Finding(name, "error", text, "Set it to the number of proxies: 1 for Cloud Run at its own URL.")
    return Finding(name, "ok", f"{TRUSTED_PROXIES_VARIABLE} is {proxies[:20]}; check the number (docs/production.md)")


def check_http_parser(environment: Mapping[str, str], find: Callable[[str], object | None] = find_spec) -> Finding:
    """Check that uvicorn uses h11 by default here: with httptools, a trailer of a request counts as a header."""
    name, chosen = "HTTP parser", environment.get("UVICORN_HTTP", "")
    if chosen == "httptools":
        return Finding(name, "error", "UVICORN_HTTP is httptools, which takes trailers for headers", "Set it to h11.")
    if chosen != "h11" and find("httptools") is not None:
        text = "httptools is installed, and uvicorn uses it by default; it takes trailers for headers"
        return Finding(name, "warning", text, "Start uvicorn with --http h11, or set UVICORN_HTTP=h11.")
    return Finding(name, "ok", "h11")


def _host(rest: str) -> str | None:
    try:
        return urlsplit(f"scheme:{rest}").hostname
    except ValueError:
        return None


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
