"""The settings of User, which it reads from its environment."""

from pydantic import Field

from services.common.settings import DatabaseUrl, ServiceSettings


class UserSettings(ServiceSettings):
    """The settings of every service, with a default for `database_url`.

    `trusted_proxies` is how many proxies of ours each request passes, for the limits of log-ins (`networks`).
    """

    database_url: DatabaseUrl = Field(default="sqlite:///.data/user.db", validation_alias="DATABASE_URL")
    trusted_proxies: int = Field(default=0, ge=0, le=10, validation_alias="TRUSTED_PROXIES")
