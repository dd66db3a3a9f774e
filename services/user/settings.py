"""The settings of User, which it reads from its environment."""

from pydantic import Field

from services.common.settings import DatabaseUrl, ServiceSettings


class UserSettings(ServiceSettings):
    """The settings of every service, with a default for `database_url`."""

    database_url: DatabaseUrl = Field(default="sqlite+aiosqlite:///.data/user.db", validation_alias="DATABASE_URL")
