"""The settings that all services have, which a factory reads once from the environment (Twelve-Factor, III)."""

import re
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from mstoken.errors import SettingsError
from mstoken.settings import expectation, without_blanks
from services.common.origins import is_origin

_DATABASE_URL = re.compile(r"(sqlite|postgresql\+asyncpg)://.+")
_HTTP_URL = re.compile(r"https?://[^/]+.*")
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9_-]+)*")


def _check_database_url(value: str) -> str:
    if not _DATABASE_URL.fullmatch(value):
        raise ValueError(
            "it must be a URL such as sqlite:///.data/shop.db or postgresql+asyncpg://user:password@host/shop"
        )
    return value


def _check_http_url(value: str) -> str:
    if not _HTTP_URL.fullmatch(value):
        raise ValueError("it must be an http or https URL, such as https://product.example.com")
    return value


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _check_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(is_origin, value)):
        raise ValueError(
            "it must be a list of origins with commas between them, such as https://shop.example.com. An origin has a "
            "scheme and a host in lower case, a port only if it is not the usual one, and no path. It must use https, "
            "unless the host is localhost"
        )
    return value


def _check_root_path(value: str) -> str:
    if not _ROOT_PATH.fullmatch(value):
        raise ValueError("it must be a path without a slash at its end, such as /api/user")
    return value


DatabaseUrl: TypeAlias = Annotated[str, AfterValidator(_check_database_url)]
"""SQLAlchemy's URL of a SQLite or PostgreSQL database."""

HttpUrl: TypeAlias = Annotated[str, AfterValidator(_check_http_url)]
"""The base URL of another service."""

Origins: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_check_origins)]
"""Origins of web pages. In the environment there are commas between them."""

RootPath: TypeAlias = Annotated[str, AfterValidator(_check_root_path)]
"""The beginning of a path that a proxy in front of the service adds, and does not remove."""


class ServiceSettings(BaseSettings):
    """The settings that all services have. A service's own class inherits them, and sets defaults.

    `allowed_origins` are the origins whose web pages may call the service. `root_path` is where a front end, such as
    Firebase Hosting, offers the service. The service answers there, and without it as well.

    White space around a value does not count. An empty value means that the setting is not set.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    database_url: DatabaseUrl = Field(validation_alias="DATABASE_URL")
    allowed_origins: Origins = Field(default=(), validation_alias="ALLOWED_ORIGINS")
    root_path: RootPath = Field(default="", validation_alias="ROOT_PATH")

    def __init__(self, **values: Any) -> None:
        """Read the environment. `values`, by the names of the fields, override it.

        Raises `SettingsError`, which names each variable that is missing or not valid.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(" ".join(self._explain(details) for details in error.errors())) from None

    @model_validator(mode="before")
    @classmethod
    def _drop_blanks(cls, values: Any) -> Any:
        return without_blanks(values)

    @classmethod
    def _explain(cls, details: ErrorDetails) -> str:
        """Return a sentence about one variable. It leaves out the value, because a database URL may have a password."""
        name = str(details["loc"][0])
        field = cls.model_fields.get(name)
        variable = name if field is None else field.validation_alias
        if details["type"] == "missing":
            return f"{variable} is not set, and it is required."
        return f"{variable} is not valid: {expectation(details)}."
