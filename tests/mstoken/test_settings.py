"""Settings: what is read, and what is said when it will not do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        MSTOKEN_TOKEN_SERVICE_URL="https://tokens.example.com/token",
        MSTOKEN_PRIVATE_KEY_FILE="/run/secrets/billing.pem",
        GCE_METADATA_HOST="127.0.0.1:9103",
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
    assert settings.token_service_url == "https://tokens.example.com/token"
    assert settings.private_key_file == Path("/run/secrets/billing.pem")
    assert settings.metadata_host == "127.0.0.1:9103"
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
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_TOKEN_SERVICE_URL": "tokens.example.com"},
            "MSTOKEN_TOKEN_SERVICE_URL is 'tokens.example.com': an http or https URL without a query is wanted",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_TOKEN_SERVICE_URL": ""},
            "MSTOKEN_TOKEN_SERVICE_URL is '': an http or https URL without a query is wanted",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_TOKEN_SERVICE_URL": "ftp://tokens.example.com"},
            "MSTOKEN_TOKEN_SERVICE_URL is 'ftp://tokens.example.com': an http or https URL without a query is wanted",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_TOKEN_SERVICE_URL": "https://tokens.example.com?a=b"},
            "MSTOKEN_TOKEN_SERVICE_URL is 'https://tokens.example.com?a=b': an http or https URL without a query",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "real-shop", "MSTOKEN_TOKEN_SERVICE_URL": "http://tokens.example.com"},
            "MSTOKEN_TOKEN_SERVICE_URL is 'http://tokens.example.com': https is wanted",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_PRIVATE_KEY_FILE": "billing.pem"},
            "MSTOKEN_PRIVATE_KEY_FILE is set, and MSTOKEN_TOKEN_SERVICE_URL is not",
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


@pytest.mark.parametrize(
    ("read", "kept"),
    [
        ("https://tokens.example.com/token", "https://tokens.example.com/token"),
        ("https://tokens.example.com/token/", "https://tokens.example.com/token"),
        ("HTTPS://Tokens.Example.com:443/a/../token", "https://tokens.example.com/token"),
        ("https://tokens.example.com", "https://tokens.example.com"),
    ],
)
def test_the_token_service_has_one_spelling(read: str, kept: str) -> None:
    """Credentials are for this URL, so both sides must write it alike."""
    with environment():
        assert Settings(project_id="real-shop", token_service_url=read).token_service_url == kept


def test_on_a_laptop_the_token_service_may_do_without_https() -> None:
    """Beside the emulator there is nobody who listens."""
    url = "http://127.0.0.1:5001/demo-shop/us-central1/token"
    with environment():
        settings = Settings(project_id="demo-shop", emulator_host="127.0.0.1:9099", token_service_url=url)
    assert settings.token_service_url == url


def test_there_need_be_no_token_service() -> None:
    """Nor a key for it; then custom tokens are signed here."""
    with environment():
        settings = Settings(project_id="real-shop")
    assert (settings.token_service_url, settings.private_key_file) == (None, None)


def test_googles_certificates_are_those_of_the_metadata_emulator() -> None:
    """On a laptop, where one is named; that none is named is said when they are wanted, and not before."""
    with environment(GOOGLE_CLOUD_PROJECT="demo-shop", FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"):
        emulated = Settings(metadata_host="127.0.0.1:9103")
        without = Settings()
        misplaced = Settings(metadata_host="http://127.0.0.1:9103")
    assert emulated.google_certificates_url == "http://127.0.0.1:9103/oauth2/v1/certs"
    with pytest.raises(SettingsError, match="GCE_METADATA_HOST is None: host:port of the metadata emulator"):
        _ = without.google_certificates_url
    with pytest.raises(SettingsError, match=r"GCE_METADATA_HOST is 'http:.*: host:port"):
        _ = misplaced.google_certificates_url


@pytest.mark.parametrize("metadata_host", [None, "169.254.169.254", "127.0.0.1:9103"])
def test_googles_certificates_are_googles_in_production(metadata_host: str | None) -> None:
    """Whatever metadata server there is: who verifies with another's certificates lets in whom that one likes."""
    with environment():
        settings = Settings(project_id="real-shop", metadata_host=metadata_host)
    assert settings.google_certificates_url == "https://www.googleapis.com/oauth2/v1/certs"


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
