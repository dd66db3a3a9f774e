"""What a service reads from its environment (the Twelve-Factor App, III), once, in its factory."""

from typing import Annotated, Any, TypeAlias

from pydantic import Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from mstoken.errors import SettingsError

DatabaseUrl: TypeAlias = Annotated[str, StringConstraints(pattern=r"^(sqlite\+aiosqlite|postgresql\+asyncpg)://.+$")]
"""SQLAlchemy's URL of one of the two databases."""


class ServiceSettings(BaseSettings):
    """What every service is told. A service's own settings inherit from this, and give `database_url` a default."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    database_url: DatabaseUrl = Field(validation_alias="DATABASE_URL")

    def __init__(self, **values: Any) -> None:
        """Reads the environment; `values`, by the fields' names, take precedence.

        Raises `SettingsError`, whose text names each variable that is missing or wrong.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(" ".join(self._sentence(fault) for fault in error.errors())) from None

    @classmethod
    def _sentence(cls, fault: ErrorDetails) -> str:
        """What is wrong with one variable. What was read is left out: a database's address may have a password."""
        name = str(fault["loc"][0])
        field = cls.model_fields.get(name)
        variable = name if field is None else field.validation_alias
        return f"{variable} is not as it should be: {fault['msg']}."
