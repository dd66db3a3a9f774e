"""What the User service reads from its environment."""

from pydantic import Field

from services.common.settings import ServiceSettings


class UserSettings(ServiceSettings):
    """See `ServiceSettings`."""

    database_url: str = Field(
        default="sqlite+aiosqlite:///.data/user.db",
        validation_alias="DATABASE_URL",
        pattern=r"^[a-z]+\+[a-z]+://.+$",
    )
