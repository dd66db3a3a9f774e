"""The settings of Billing."""

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """Read from the environment."""

    api_key: str = "the same for everyone"
    product_url: str = "http://127.0.0.1:8002"
    currency: str = "USD"


settings = Settings()
