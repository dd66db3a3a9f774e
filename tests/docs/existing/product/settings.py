"""The settings of Product."""

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """Read from the environment."""

    api_key: str = "the same for everyone"
    billing_url: str = "http://127.0.0.1:8003"


settings = Settings()
