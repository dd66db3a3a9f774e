"""What the Product service reads from its environment."""

from pydantic import Field

from services.common.settings import DatabaseUrl, ServiceSettings


class ProductSettings(ServiceSettings):
    """See `ServiceSettings`."""

    database_url: DatabaseUrl = Field(default="sqlite+aiosqlite:///.data/product.db", validation_alias="DATABASE_URL")
