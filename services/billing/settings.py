"""What the Billing service reads from its environment."""

from pydantic import Field

from services.common.settings import ServiceSettings


class BillingSettings(ServiceSettings):
    """See `ServiceSettings`. `product_url` and `user_url` are where the neighbours are."""

    database_url: str = Field(
        default="sqlite+aiosqlite:///.data/billing.db",
        validation_alias="DATABASE_URL",
        pattern=r"^[a-z]+\+[a-z]+://.+$",
    )
    product_url: str = Field(
        default="http://127.0.0.1:8002", validation_alias="PRODUCT_URL", pattern=r"^https?://[^/]+.*$"
    )
    user_url: str = Field(default="http://127.0.0.1:8001", validation_alias="USER_URL", pattern=r"^https?://[^/]+.*$")
