"""What the Billing service reads from its environment."""

from pydantic import Field

from services.common.settings import DatabaseUrl, ServiceSettings


class BillingSettings(ServiceSettings):
    """See `ServiceSettings`. `product_url` and `user_url` are where the neighbours are.

    `delivery_queue` is the task-queue function that carries deliveries out, its name or
    `locations/{location}/functions/{name}`; `delivery_patience_seconds` how long one may be under way before it is
    handed over anew.
    """

    database_url: DatabaseUrl = Field(default="sqlite+aiosqlite:///.data/billing.db", validation_alias="DATABASE_URL")
    product_url: str = Field(
        default="http://127.0.0.1:8002", validation_alias="PRODUCT_URL", pattern=r"^https?://[^/]+.*$"
    )
    user_url: str = Field(default="http://127.0.0.1:8001", validation_alias="USER_URL", pattern=r"^https?://[^/]+.*$")
    delivery_queue: str = Field(
        default="deliver",
        validation_alias="DELIVERY_QUEUE",
        pattern=r"^(locations/[a-z0-9-]+/functions/)?[A-Za-z][A-Za-z0-9_-]*$",
    )
    delivery_patience_seconds: float = Field(default=600, validation_alias="DELIVERY_PATIENCE_SECONDS", ge=1)
