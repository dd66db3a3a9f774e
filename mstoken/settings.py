"""The settings of a process that calls services or is called: project, API key, emulator, replay store."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from mstoken.errors import SettingsError
from mstoken.extras import MissingExtra, needed_by
from mstoken.uri import normalized
from mstoken.wire import Mode

AUTH_EMULATOR_VARIABLE = "FIREBASE_AUTH_EMULATOR_HOST"
RUN_EMULATOR = f"Run `mstoken emulator`, and set {AUTH_EMULATOR_VARIABLE} to its address"
"""What to do if no signed Auth emulator answers at the address of the settings."""
REPLAY_URL_VARIABLE = "MSTOKEN_REPLAY_URL"
STATUS_URL_VARIABLE = "MSTOKEN_STATUS_URL"
REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})
"""The beginnings of URLs that redis-py reads."""
SECRET_VARIABLES = frozenset({"MSTOKEN_API_KEY", "MSTOKEN_NONCE_SECRET", STATUS_URL_VARIABLE})
"""Variables whose values never appear in an error message."""
MIN_SECRET_CHARACTERS = 32
DEMO_PREFIX = "demo-"
"""Project ids with this prefix exist on emulators only (Firebase, Emulator Suite: "Run with a demo project")."""

PROJECT_ID = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?:)?[a-z][a-z0-9-]{4,61}[a-z0-9]")
"""A project of an organization may have its domain before the id (Google Cloud, "Domain-scoped projects")."""
_USER_INFORMATION = re.compile(r"(?<=//)[^/?#]*@")
HOST_AND_PORT = re.compile(r"[\w.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")


class Settings(BaseSettings):
    """Settings, read from the environment when an instance is made. Arguments, by field name, take precedence.

    White space around a value does not count. An empty value means that the setting is not set.

    | field | variable | meaning |
    |---|---|---|
    | project_id | GOOGLE_CLOUD_PROJECT | the Firebase project |
    | emulator_host | FIREBASE_AUTH_EMULATOR_HOST | `host:port` of the Auth emulator; unset in production |
    | api_key | MSTOKEN_API_KEY | the project's web API key; callers need it; the emulator accepts any |
    | token_service_url | MSTOKEN_TOKEN_SERVICE_URL | the token service; if unset, this process signs custom tokens |
    | private_key_file | MSTOKEN_PRIVATE_KEY_FILE | the key that authenticates this service to the token service; \
needed on platforms without a metadata server |
    | metadata_host | GCE_METADATA_HOST | `host:port` of the metadata emulator; used only with the Auth emulator |
    | mode | MSTOKEN_MODE | the default mode of calls: `fresh` (a sign-in for each call) or `proof` |
    | base_url | MSTOKEN_BASE_URL | the URL under which callers reach this service; proofs are checked against it |
    | require_proof | MSTOKEN_REQUIRE_PROOF | whether every service that calls this one must send proofs |
    | nonce_secret | MSTOKEN_NONCE_SECRET | if set, proofs must carry a nonce; 32 characters or more, the same in all \
workers |
    | replay_url | MSTOKEN_REPLAY_URL | the store of spent ids: `memory:`, `sqlite:///path`, `redis://host`, \
`postgresql://host/database` or `firestore:` |
    | status_url | MSTOKEN_STATUS_URL | the Redis in which all processes share the status of identities; by default \
that of spent ids, if they are in a Redis; `memory:` shares nothing |
    | single_instance | MSTOKEN_SINGLE_INSTANCE | whether this service never has more than one instance; needed for \
`sqlite:` and `memory:` on platforms without a shared disk |
    | certificates_file | MSTOKEN_CERTIFICATES_FILE | Google's certificates in a file, for networks that cannot reach \
Google |

    Raises `SettingsError`, which names the variable, the value that was read, and what was expected. A process does
    not start if the emulator's variable is set and the project may be a real one.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    project_id: str = Field(validation_alias="GOOGLE_CLOUD_PROJECT")
    emulator_host: str | None = Field(default=None, validation_alias=AUTH_EMULATOR_VARIABLE)
    api_key: SecretStr | None = Field(default=None, validation_alias="MSTOKEN_API_KEY")
    token_service_url: str | None = Field(default=None, validation_alias="MSTOKEN_TOKEN_SERVICE_URL")
    private_key_file: Path | None = Field(default=None, validation_alias="MSTOKEN_PRIVATE_KEY_FILE")
    metadata_host: str | None = Field(default=None, validation_alias="GCE_METADATA_HOST")
    mode: Mode = Field(default="fresh", validation_alias="MSTOKEN_MODE")
    base_url: str | None = Field(default=None, validation_alias="MSTOKEN_BASE_URL")
    require_proof: bool = Field(default=False, validation_alias="MSTOKEN_REQUIRE_PROOF")
    nonce_secret: SecretStr | None = Field(default=None, validation_alias="MSTOKEN_NONCE_SECRET")
    replay_url: str = Field(default="sqlite:///.mstoken/spent-ids.db", validation_alias=REPLAY_URL_VARIABLE)
    status_url: str | None = Field(default=None, validation_alias=STATUS_URL_VARIABLE)
    single_instance: bool = Field(default=False, validation_alias="MSTOKEN_SINGLE_INSTANCE")
    certificates_file: Path | None = Field(default=None, validation_alias="MSTOKEN_CERTIFICATES_FILE")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _drop_blanks(cls, values: Any) -> Any:
        return without_blanks(values)

    @field_validator("project_id")
    @classmethod
    def _check_project_id(cls, value: str) -> str:
        if not PROJECT_ID.fullmatch(value):
            raise ValueError("it must be a Firebase project id, such as demo-shop or example.com:shop-7f3a2")
        return value

    @field_validator("emulator_host")
    @classmethod
    def _check_emulator_host(cls, value: str | None) -> str | None:
        if value is not None and not HOST_AND_PORT.fullmatch(value):
            raise ValueError("it must be host:port without a scheme, such as 127.0.0.1:9100")
        return value

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError(
                "it must be the web API key from the project settings in the Firebase console: one line of ASCII "
                "characters without spaces"
            )
        return value

    @field_validator("base_url", "token_service_url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            if "?" not in value and "#" not in value:
                return normalized(value).rstrip("/")
        except ValueError:
            pass
        raise ValueError("it must be an http or https URL without a query, such as https://product.example.com")

    @field_validator("status_url")
    @classmethod
    def _check_status_url(cls, value: str | None) -> str | None:
        if value is not None and value != "memory:" and value.partition(":")[0] not in REDIS_SCHEMES:
            raise ValueError("it must be a redis:// or rediss:// URL, or memory: if each process looks up by itself")
        return value

    @field_validator("nonce_secret")
    @classmethod
    def _check_nonce_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_SECRET_CHARACTERS:
            raise ValueError(f"it must have {MIN_SECRET_CHARACTERS} random characters or more")
        return value

    @model_validator(mode="after")
    def _check_token_service(self) -> "Settings":
        url = self.token_service_url
        if url is None and self.private_key_file is not None:
            raise SettingsError(
                "MSTOKEN_PRIVATE_KEY_FILE is set, and MSTOKEN_TOKEN_SERVICE_URL is not: only the token service accepts "
                "this key. Set both or neither."
            )
        if url is not None and not url.startswith("https:") and not self.emulator_host:
            raise SettingsError(
                f"MSTOKEN_TOKEN_SERVICE_URL is {url!r}: it must use https, since anyone who reads a request to the "
                "token service could call as this service."
            )
        return self

    @model_validator(mode="after")
    def _check_base_url_for_proofs(self) -> "Settings":
        for value, variable in (
            (self.require_proof, "MSTOKEN_REQUIRE_PROOF"),
            (self.nonce_secret, "MSTOKEN_NONCE_SECRET"),
        ):
            if value and self.base_url is None:
                raise SettingsError(
                    f"{variable} is set, and MSTOKEN_BASE_URL is not: proofs are checked against the URL under which "
                    "callers reach this service. Set MSTOKEN_BASE_URL, for example to https://product.example.com."
                )
        return self

    @model_validator(mode="after")
    def _check_demo_project_with_emulator(self) -> "Settings":
        if self.emulator_host and not self.project_id.startswith(DEMO_PREFIX):
            raise SettingsError(
                f"{AUTH_EMULATOR_VARIABLE} is set ({self.emulator_host}), and GOOGLE_CLOUD_PROJECT is "
                f"{self.project_id!r}: with the emulator, the project id must begin with {DEMO_PREFIX!r}. In "
                f"production unset {AUTH_EMULATOR_VARIABLE}, because while it is set firebase-admin does not verify "
                "signatures."
            )
        return self

    @property
    def identity_toolkit_url(self) -> str:
        """The base URL of the Identity Toolkit REST API, where accounts sign in; ends with `/v1`."""
        return self._google_api("identitytoolkit.googleapis.com")

    @property
    def secure_token_url(self) -> str:
        """The base URL of the Secure Token REST API, where refresh tokens are exchanged; ends with `/v1`."""
        return self._google_api("securetoken.googleapis.com")

    @property
    def certificates_url(self) -> str:
        """The URL of the certificates of ID tokens. With an emulator, the signed Auth emulator publishes them."""
        path = "/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
        return f"http://{self.emulator_host}{path}" if self.emulator_host else f"https://www.googleapis.com{path}"

    @property
    def google_certificates_url(self) -> str:
        """The URL of the certificates of Google's own identity tokens.

        With the Auth emulator, the metadata emulator publishes them. Raises `SettingsError` if its address is missing
        or malformed.
        """
        path = "/oauth2/v1/certs"
        if not self.emulator_host:
            return f"https://www.googleapis.com{path}"
        if not self.metadata_host or not HOST_AND_PORT.fullmatch(self.metadata_host):
            raise SettingsError(
                f"GCE_METADATA_HOST is {self.metadata_host!r}: it must be host:port of the metadata emulator."
            )
        return f"http://{self.metadata_host}{path}"

    @property
    def web_api_key(self) -> str:
        """The API key to send to Firebase. Raises `SettingsError` if a production project has no API key set."""
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        if self.emulator_host:
            return "emulator"
        if self.project_id.startswith(DEMO_PREFIX):
            raise SettingsError(emulator_missing(self.project_id))
        raise SettingsError(
            "MSTOKEN_API_KEY is not set. Set it to the web API key from the project settings in the Firebase console."
        )

    def check_process_environment(self) -> None:
        """Raise `SettingsError` if firebase-admin, which reads the environment itself, would use another emulator."""
        in_environment = os.environ.get(AUTH_EMULATOR_VARIABLE) or None
        if in_environment != self.emulator_host:
            raise SettingsError(
                f"{AUTH_EMULATOR_VARIABLE} is {in_environment!r} in the environment, and {self.emulator_host!r} in the "
                "settings: firebase-admin reads the environment, so both must be the same."
            )

    def _google_api(self, host: str) -> str:
        return f"http://{self.emulator_host}/{host}/v1" if self.emulator_host else f"https://{host}/v1"


def emulator_missing(project_id: str) -> str:
    """Return what to say about a project of emulators if no emulator is set."""
    return (
        f"GOOGLE_CLOUD_PROJECT is {project_id!r}, which exists on emulators only, and {AUTH_EMULATOR_VARIABLE} is not "
        "set. Set it to the address that `mstoken emulator` prints, such as 127.0.0.1:9100."
    )


@contextmanager
def needed_by_setting(variable: str, scheme: str, extra: str) -> Iterator[None]:
    """Raise `SettingsError` if an import in the block fails because `extra` is not installed.

    `variable` has a URL with this scheme.
    """
    try:
        with needed_by(f"{variable}={scheme}:…", extra):
            yield
    except MissingExtra as error:
        raise SettingsError(f"{error}") from error


def without_blanks(values: Any) -> Any:
    """Return `values`, the input of a model, without the white space around its strings, and without empty strings.

    A secret that is read from a file often ends with a newline. In a compose file, `${VARIABLE:-}` makes a variable
    that is not set an empty one.
    """
    if not isinstance(values, dict):
        return values
    stripped = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
    return {name: value for name, value in stripped.items() if value != ""}


def expectation(details: ErrorDetails) -> str:
    """Return what was expected of a value, as the second half of a sentence: "it must be true or false"."""
    if details["type"] == "bool_parsing":
        return "it must be true or false"
    return details["msg"].removeprefix("Value error, ").replace("Input should be", "it must be", 1)


def _explain(error: ValidationError) -> str:
    """Return one sentence for each setting that is wrong. Secrets are left out, and the user in a URL too."""
    sentences = []
    for details in error.errors():
        name = str(details["loc"][0]) if details["loc"] else "settings"
        field = Settings.model_fields.get(name)
        variable = str(field.validation_alias) if field else name
        if details["type"] == "missing":
            sentences.append(
                f"{variable} is not set, and it is required. Set it to the id of the Firebase project, such as "
                "demo-shop with the emulator."
            )
            continue
        value = "(hidden)" if variable in SECRET_VARIABLES else _USER_INFORMATION.sub("***@", repr(details["input"]))
        sentences.append(f"{variable} is {value}: {expectation(details)}.")
    return " ".join(sentences)
