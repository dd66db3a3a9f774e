"""What the User service reads from its environment."""

from pydantic import Field

from services.common.settings import DatabaseUrl, ServiceSettings


class UserSettings(ServiceSettings):
    """See `ServiceSettings`."""

    database_url: DatabaseUrl = Field(default="sqlite+aiosqlite:///.data/user.db", validation_alias="DATABASE_URL")
