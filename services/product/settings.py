"""The settings of Product, which it reads from its environment."""

from pydantic import Field

from services.common.settings import DatabaseUrl, ServiceSettings


class ProductSettings(ServiceSettings):
    """The settings of every service, with a default for `database_url`."""

    database_url: DatabaseUrl = Field(default="sqlite:///.data/product.db", validation_alias="DATABASE_URL")
