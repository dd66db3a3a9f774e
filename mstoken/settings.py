"""What a process must know to call or to be called: project, API key, emulator, replay store."""

import os
import re
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mstoken.errors import SettingsError
from mstoken.uri import normalized
from mstoken.wire import Mode

EMULATOR_VARIABLE = "FIREBASE_AUTH_EMULATOR_HOST"
SECRET_VARIABLES = frozenset({"MSTOKEN_API_KEY", "MSTOKEN_NONCE_SECRET"})
SHORTEST_SECRET_CHARACTERS = 32
DEMO_PREFIX = "demo-"
"""Project ids that begin so exist on emulators only (Firebase, Emulator Suite: "Run with a demo project")."""

_HOST_AND_PORT = re.compile(r"[\w.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")


class Settings(BaseSettings):
    """Read from the environment when built; arguments, by field name, take precedence.

    | field | variable | |
    |---|---|---|
    | project_id | GOOGLE_CLOUD_PROJECT | the Firebase project |
    | emulator_host | FIREBASE_AUTH_EMULATOR_HOST | `host:port` of the Auth emulator; unset in production |
    | api_key | MSTOKEN_API_KEY | the project's web API key; callers need it, on the emulator any will do |
    | token_service_url | MSTOKEN_TOKEN_SERVICE_URL | where callers get custom tokens; unset, they sign them here |
    | private_key_file | MSTOKEN_PRIVATE_KEY_FILE | proves a caller to the token service, where no platform does |
    | metadata_host | GCE_METADATA_HOST | `host:port` of the metadata emulator; read with the Auth emulator only |
    | mode | MSTOKEN_MODE | how callers call unless they say so: `fresh` (a sign-in for each call) or `proof` |
    | base_url | MSTOKEN_BASE_URL | what this service's URLs begin with for its callers; proofs are checked with it |
    | require_proof | MSTOKEN_REQUIRE_PROOF | whether services that call this one must bring proofs |
    | nonce_secret | MSTOKEN_NONCE_SECRET | makes proofs carry a nonce; 32 characters or more, the same in all workers |
    | replay_url | MSTOKEN_REPLAY_URL | where spent ids are kept: `memory:`, `sqlite:///path` or `redis://host` |
    | certificates_file | MSTOKEN_CERTIFICATES_FILE | Google's certificates in a file, where nothing can be fetched |

    Raises `SettingsError`, naming the variable, what was read and what is wanted. A process that would talk to the
    emulator in a project which may be a real one does not start.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    project_id: str = Field(validation_alias="GOOGLE_CLOUD_PROJECT")
    emulator_host: str | None = Field(default=None, validation_alias=EMULATOR_VARIABLE)
    api_key: SecretStr | None = Field(default=None, validation_alias="MSTOKEN_API_KEY")
    token_service_url: str | None = Field(default=None, validation_alias="MSTOKEN_TOKEN_SERVICE_URL")
    private_key_file: Path | None = Field(default=None, validation_alias="MSTOKEN_PRIVATE_KEY_FILE")
    metadata_host: str | None = Field(default=None, validation_alias="GCE_METADATA_HOST")
    mode: Mode = Field(default="fresh", validation_alias="MSTOKEN_MODE")
    base_url: str | None = Field(default=None, validation_alias="MSTOKEN_BASE_URL")
    require_proof: bool = Field(default=False, validation_alias="MSTOKEN_REQUIRE_PROOF")
    nonce_secret: SecretStr | None = Field(default=None, validation_alias="MSTOKEN_NONCE_SECRET")
    replay_url: str = Field(default="sqlite:///.mstoken/spent-ids.db", validation_alias="MSTOKEN_REPLAY_URL")
    certificates_file: Path | None = Field(default=None, validation_alias="MSTOKEN_CERTIFICATES_FILE")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None

    @field_validator("project_id")
    @classmethod
    def _project_id_is_one(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9-]{4,61}[a-z0-9]", value):
            raise ValueError("a Firebase project id is wanted, such as demo-shop")
        return value

    @field_validator("emulator_host")
    @classmethod
    def _emulator_host_has_a_port(cls, value: str | None) -> str | None:
        if value is not None and not _HOST_AND_PORT.fullmatch(value):
            raise ValueError("host:port without a scheme is wanted, such as 127.0.0.1:9099")
        return value

    @field_validator("api_key")
    @classmethod
    def _api_key_is_not_empty(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError("the web API key from the Firebase console's project settings is wanted")
        return value

    @field_validator("base_url", "token_service_url")
    @classmethod
    def _url_is_one(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            if "?" not in value and "#" not in value:
                return normalized(value).rstrip("/")
        except ValueError:
            pass
        raise ValueError("an http or https URL without a query is wanted, such as https://product.example.com")

    @field_validator("nonce_secret")
    @classmethod
    def _nonce_secret_is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_SECRET_CHARACTERS:
            raise ValueError(f"{SHORTEST_SECRET_CHARACTERS} random characters or more are wanted")
        return value

    @model_validator(mode="after")
    def _token_service_over_https(self) -> "Settings":
        url = self.token_service_url
        if url is None and self.private_key_file is not None:
            raise SettingsError(
                "MSTOKEN_PRIVATE_KEY_FILE is set, and MSTOKEN_TOKEN_SERVICE_URL is not: the key is for nobody else."
            )
        if url is not None and not url.startswith("https:") and not self.emulator_host:
            raise SettingsError(
                f"MSTOKEN_TOKEN_SERVICE_URL is {url!r}: https is wanted, since who sees the credentials can be us."
            )
        return self

    @model_validator(mode="after")
    def _proofs_only_with_a_base_url(self) -> "Settings":
        for field, variable in (
            (self.require_proof, "MSTOKEN_REQUIRE_PROOF"),
            (self.nonce_secret, "MSTOKEN_NONCE_SECRET"),
        ):
            if field and self.base_url is None:
                raise SettingsError(
                    f"{variable} is set, and MSTOKEN_BASE_URL is not: proofs are checked against the URL that callers "
                    "use, such as https://product.example.com."
                )
        return self

    @model_validator(mode="after")
    def _emulator_only_with_a_demo_project(self) -> "Settings":
        if self.emulator_host and not self.project_id.startswith(DEMO_PREFIX):
            raise SettingsError(
                f"{EMULATOR_VARIABLE} is set ({self.emulator_host}), and GOOGLE_CLOUD_PROJECT is {self.project_id!r}: "
                f"against the emulator a project whose id begins with {DEMO_PREFIX!r} is wanted; in production unset "
                f"{EMULATOR_VARIABLE}, since firebase-admin verifies no signature while it is set."
            )
        return self

    @property
    def identity_toolkit_url(self) -> str:
        """Where accounts sign in: the Identity Toolkit REST API's address, up to and including `/v1`."""
        return self._google_api("identitytoolkit.googleapis.com")

    @property
    def secure_token_url(self) -> str:
        """Where refresh tokens are exchanged: the Secure Token REST API's address, up to and including `/v1`."""
        return self._google_api("securetoken.googleapis.com")

    @property
    def certificates_url(self) -> str:
        """Where the certificates of ID tokens are published; on a laptop, by the signed emulator."""
        path = "/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com"
        return f"http://{self.emulator_host}{path}" if self.emulator_host else f"https://www.googleapis.com{path}"

    @property
    def google_certificates_url(self) -> str:
        """Where the certificates of Google's own identity tokens are published; on a laptop, by the metadata emulator.

        Raises `SettingsError` on a laptop without one.
        """
        path = "/oauth2/v1/certs"
        if not self.emulator_host:
            return f"https://www.googleapis.com{path}"
        if not self.metadata_host or not _HOST_AND_PORT.fullmatch(self.metadata_host):
            raise SettingsError(
                f"GCE_METADATA_HOST is {self.metadata_host!r}: host:port of the metadata emulator is wanted."
            )
        return f"http://{self.metadata_host}{path}"

    @property
    def web_api_key(self) -> str:
        """The API key to send. Raises `SettingsError` where a production project has none."""
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        if self.emulator_host:
            return "emulator"
        raise SettingsError(
            "MSTOKEN_API_KEY is not set: the web API key from the Firebase console's project settings is wanted."
        )

    def check_process_environment(self) -> None:
        """Raises `SettingsError` where firebase-admin, which reads the variable itself, would see another emulator."""
        seen = os.environ.get(EMULATOR_VARIABLE) or None
        if seen != self.emulator_host:
            raise SettingsError(
                f"{EMULATOR_VARIABLE} is {seen!r} in the environment, and these settings say {self.emulator_host!r}: "
                "firebase-admin goes by the environment, so both must say the same."
            )

    def _google_api(self, host: str) -> str:
        return f"http://{self.emulator_host}/{host}/v1" if self.emulator_host else f"https://{host}/v1"


def _explain(error: ValidationError) -> str:
    """One sentence for each setting that is wrong; secrets are not repeated."""
    sentences = []
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else "settings"
        field = Settings.model_fields.get(name)
        variable = str(field.validation_alias) if field else name
        if fault["type"] == "missing":
            sentences.append(f"{variable} is not set: it is needed.")
            continue
        read = "(hidden)" if variable in SECRET_VARIABLES else repr(fault["input"])
        sentences.append(f"{variable} is {read}: {fault['msg'].removeprefix('Value error, ')}.")
    return " ".join(sentences)
