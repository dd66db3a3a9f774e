"""The settings that all services have, which a factory reads once from the environment (Twelve-Factor, III)."""

import re
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from mstoken.errors import SettingsError
from mstoken.settings import expectation, without_blanks

_DATABASE_URL = re.compile(r"(sqlite\+aiosqlite|postgresql\+asyncpg)://.+")
_HTTP_URL = re.compile(r"https?://[^/]+.*")


def _check_database_url(value: str) -> str:
    if not _DATABASE_URL.fullmatch(value):
        raise ValueError(
            "it must be a URL such as sqlite+aiosqlite:///.data/shop.db or postgresql+asyncpg://user:password@host/shop"
        )
    return value


def _check_http_url(value: str) -> str:
    if not _HTTP_URL.fullmatch(value):
        raise ValueError("it must be an http or https URL, such as https://product.example.com")
    return value


DatabaseUrl: TypeAlias = Annotated[str, AfterValidator(_check_database_url)]
"""SQLAlchemy's URL of a SQLite or PostgreSQL database."""

HttpUrl: TypeAlias = Annotated[str, AfterValidator(_check_http_url)]
"""The base URL of another service."""


class ServiceSettings(BaseSettings):
    """The settings that all services have. A service's own class inherits them, and sets defaults.

    White space around a value does not count. An empty value means that the setting is not set.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    database_url: DatabaseUrl = Field(validation_alias="DATABASE_URL")

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
