"""Application Default Credentials: which of them can sign, and which identity they have.

Source: AIP-4110 (where google-auth looks for credentials).
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from mstoken.errors import SettingsError

CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
GCLOUD_FOLDER_VARIABLE = "CLOUDSDK_CONFIG"
GCLOUD_FILE = "application_default_credentials.json"
CANNOT_SIGN: Mapping[str, str] = {
    "authorized_user": "of a person",
    "external_account_authorized_user": "of a person",
    "external_account": "of a workload identity pool",
    "gdch_service_account": "of Google Distributed Cloud",
}
"""The types of credentials with which firebase-admin cannot sign, and of what they are."""


def check_can_sign(environment: Mapping[str, str], home: Path | None = None) -> None:
    """Raise `SettingsError` if the file of Application Default Credentials has some that cannot sign custom tokens.

    Also raise it if GOOGLE_APPLICATION_CREDENTIALS names a file that cannot be read. `home` is the user's folder.
    Nothing is fetched: without a file, the metadata server may have credentials.
    """
    file = _named_file(environment) or gcloud_file(environment, home or Path.home())
    if _named_file(environment) is None and not file.is_file():
        return
    kind = _type_in(file)
    if owner := CANNOT_SIGN.get(kind or ""):
        raise SettingsError(
            f"This process must sign custom tokens, and the credentials in {str(file)!r} cannot: they are those "
            f"{owner} ({kind}). Set {CREDENTIALS_VARIABLE} to the key of a service account, or run `gcloud auth "
            "application-default login --impersonate-service-account ACCOUNT`. If another process signs, set "
            "MSTOKEN_TOKEN_SERVICE_URL to the URL of that token service."
        )


def named_type(environment: Mapping[str, str]) -> str | None:
    """Return the type of the credentials in the file that GOOGLE_APPLICATION_CREDENTIALS names.

    It is "service_account", for example. Return None if the variable is not set, or the file has no type. Raise
    `SettingsError` if the file cannot be read, or is not JSON.
    """
    file = _named_file(environment)
    return None if file is None else _type_in(file)


def gcloud_file(environment: Mapping[str, str], home: Path) -> Path:
    """Return the path of the file that `gcloud auth application-default login` writes."""
    if folder := environment.get(GCLOUD_FOLDER_VARIABLE):
        return Path(folder) / GCLOUD_FILE
    if sys.platform == "win32" and (folder := environment.get("APPDATA")):
        return Path(folder) / "gcloud" / GCLOUD_FILE
    return home / ".config" / "gcloud" / GCLOUD_FILE


def _named_file(environment: Mapping[str, str]) -> Path | None:
    name = environment.get(CREDENTIALS_VARIABLE)
    return Path(name) if name else None


def _type_in(file: Path) -> str | None:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise _file_error(file, f"it cannot be read ({error.strerror})") from None
    except ValueError:
        raise _file_error(file, "it is not JSON") from None
    kind = content.get("type") if isinstance(content, dict) else None
    return kind if isinstance(kind, str) else None


def _file_error(file: Path, problem: str) -> SettingsError:
    return SettingsError(
        f"The file of Google's credentials is {str(file)!r}: {problem}. Set {CREDENTIALS_VARIABLE} to another file, or "
        "unset it on Google Cloud."
    )
