"""Settings: what is read, and what is said when it will not do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mstoken.errors import SettingsError
from mstoken.settings import Settings


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """The process's environment with these variables and none other that settings read; put back afterwards."""
    before = dict(os.environ)
    for field in Settings.model_fields.values():
        os.environ.pop(str(field.validation_alias), None)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_settings_come_from_the_environment() -> None:
    """Each field is read from the variable that the table in the docstring gives."""
    with environment(
        GOOGLE_CLOUD_PROJECT="demo-shop",
        FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099",
        MSTOKEN_API_KEY="web-key",
        MSTOKEN_REPLAY_URL="memory:",
        MSTOKEN_MODE="proof",
        MSTOKEN_BASE_URL="https://product.example.com/",
        MSTOKEN_REQUIRE_PROOF="true",
        MSTOKEN_NONCE_SECRET="s" * 32,
    ):
        settings = Settings()
    assert settings.project_id == "demo-shop"
    assert settings.emulator_host == "127.0.0.1:9099"
    assert settings.web_api_key == "web-key"
    assert settings.replay_url == "memory:"
    assert (settings.mode, settings.base_url, settings.require_proof) == ("proof", "https://product.example.com", True)
    assert settings.nonce_secret is not None
    assert settings.nonce_secret.get_secret_value() == "s" * 32


def test_arguments_take_precedence() -> None:
    """What is passed in wins over the environment."""
    with environment(GOOGLE_CLOUD_PROJECT="demo-shop"):
        assert Settings(project_id="demo-other").project_id == "demo-other"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "GOOGLE_CLOUD_PROJECT is not set"),
        (
            {"GOOGLE_CLOUD_PROJECT": "My Project"},
            "GOOGLE_CLOUD_PROJECT is 'My Project': a Firebase project id is wanted",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "FIREBASE_AUTH_EMULATOR_HOST": "http://localhost:9099"},
            "FIREBASE_AUTH_EMULATOR_HOST is 'http://localhost:9099': host:port without a scheme is wanted",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "real-shop", "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9099"},
            "GOOGLE_CLOUD_PROJECT is 'real-shop'",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "real-shop", "MSTOKEN_API_KEY": "  "},
            "MSTOKEN_API_KEY is (hidden): the web API key",
        ),
        ({"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_MODE": "dpop"}, "MSTOKEN_MODE is 'dpop': Input should be"),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_BASE_URL": "product.example.com"},
            "MSTOKEN_BASE_URL is 'product.example.com': an http or https URL without a query is wanted",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_BASE_URL": "https://product.example.com?a=b"},
            "MSTOKEN_BASE_URL is 'https://product.example.com?a=b': an http or https URL without a query",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_REQUIRE_PROOF": "1"},
            "MSTOKEN_REQUIRE_PROOF is set, and MSTOKEN_BASE_URL is not",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_NONCE_SECRET": "n" * 32},
            "MSTOKEN_NONCE_SECRET is set, and MSTOKEN_BASE_URL is not",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_NONCE_SECRET": "too-short"},
            "MSTOKEN_NONCE_SECRET is (hidden): 32 random characters or more are wanted",
        ),
    ],
)
def test_a_wrong_setting_is_named(variables: dict[str, str], said: str) -> None:
    """The error names the variable, what was read and what is wanted."""
    with environment(**variables), pytest.raises(SettingsError) as caught:
        Settings()
    assert said in str(caught.value)


def test_an_emulator_on_ipv6_is_fine() -> None:
    """An address in brackets has a port behind it."""
    assert Settings(project_id="demo-shop", emulator_host="[::1]:9099").emulator_host == "[::1]:9099"


def test_addresses_follow_the_emulator() -> None:
    """The REST addresses are the emulator's while there is one, and Google's otherwise."""
    emulated = Settings(project_id="demo-shop", emulator_host="127.0.0.1:9099")
    assert emulated.identity_toolkit_url == "http://127.0.0.1:9099/identitytoolkit.googleapis.com/v1"
    assert emulated.secure_token_url == "http://127.0.0.1:9099/securetoken.googleapis.com/v1"
    with environment():
        real = Settings(project_id="real-shop")
    assert real.identity_toolkit_url == "https://identitytoolkit.googleapis.com/v1"


def test_production_needs_an_api_key_and_the_emulator_does_not() -> None:
    """The key is asked for when a caller needs it, and any will do on the emulator."""
    with environment():
        assert Settings(project_id="demo-shop", emulator_host="127.0.0.1:9099").web_api_key
        with pytest.raises(SettingsError, match="MSTOKEN_API_KEY is not set"):
            _ = Settings(project_id="real-shop").web_api_key


def test_secrets_do_not_show() -> None:
    """Printing settings prints neither key nor secret, nor does saying what is wrong with one."""
    settings = Settings(project_id="demo-shop", api_key="web-key", base_url="http://a", nonce_secret="n" * 32)
    assert "web-key" not in repr(settings)
    assert "n" * 32 not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        Settings(project_id="demo-shop", nonce_secret="too-short")
    assert "too-short" not in str(caught.value)


@pytest.mark.parametrize(("seen", "said"), [("127.0.0.1:9099", None), (None, "127.0.0.1:9099"), ("a:1", "b:1")])
def test_environment_and_settings_must_agree_on_the_emulator(seen: str | None, said: str | None) -> None:
    """firebase-admin reads the variable itself, and verifies nothing while it is set."""
    with environment(**({"FIREBASE_AUTH_EMULATOR_HOST": seen} if seen else {})):
        settings = Settings(project_id="demo-shop", emulator_host=said)
        with pytest.raises(SettingsError, match="both must say the same"):
            settings.check_process_environment()
