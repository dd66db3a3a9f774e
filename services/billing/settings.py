"""The settings of Billing, which it reads from its environment."""

import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from services.common.settings import DatabaseUrl, HttpUrl, ServiceSettings

_QUEUE = re.compile(r"(locations/[a-z0-9-]+/functions/)?[A-Za-z][A-Za-z0-9_-]*")


def _check_queue(value: str) -> str:
    if not _QUEUE.fullmatch(value):
        raise ValueError("it must be the name of a function, or locations/{location}/functions/{name}")
    return value


QueueName: TypeAlias = Annotated[str, AfterValidator(_check_queue)]


class BillingSettings(ServiceSettings):
    """The settings of every service, and Billing's own.

    `product_url` and `user_url` are the base URLs of the other services. `delivery_queue` is the task-queue function
    that carries out deliveries. `delivery_patience_seconds` is how long a delivery may take before it is handed over
    again.
    """

    database_url: DatabaseUrl = Field(default="sqlite:///.data/billing.db", validation_alias="DATABASE_URL")
    product_url: HttpUrl = Field(default="http://127.0.0.1:8002", validation_alias="PRODUCT_URL")
    user_url: HttpUrl = Field(default="http://127.0.0.1:8001", validation_alias="USER_URL")
    delivery_queue: QueueName = Field(default="deliver", validation_alias="DELIVERY_QUEUE")
    delivery_patience_seconds: float = Field(default=600, validation_alias="DELIVERY_PATIENCE_SECONDS", ge=1)
