"""Settings are read from the environment, and a wrong setting is named with what was expected."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mstoken.errors import SettingsError
from mstoken.settings import Settings


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set these variables and unset every other variable that settings read. Restore the environment afterwards."""
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
    """Each field is read from the variable that the table in the docstring of `Settings` names."""
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
        MSTOKEN_SINGLE_INSTANCE="true",
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
    assert settings.single_instance is True
    assert settings.nonce_secret is not None
    assert settings.nonce_secret.get_secret_value() == "s" * 32


def test_arguments_take_precedence() -> None:
    """An argument overrides the environment."""
    with environment(GOOGLE_CLOUD_PROJECT="demo-shop", MSTOKEN_API_KEY="one", MSTOKEN_MODE="proof"):
        settings = Settings(project_id="demo-other", api_key="another", mode="fresh")
    assert (settings.project_id, settings.web_api_key, settings.mode) == ("demo-other", "another", "fresh")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "GOOGLE_CLOUD_PROJECT is not set"),
        (
            {"GOOGLE_CLOUD_PROJECT": "My Project"},
            "GOOGLE_CLOUD_PROJECT is 'My Project': it must be a Firebase project id",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "FIREBASE_AUTH_EMULATOR_HOST": "http://localhost:9099"},
            "FIREBASE_AUTH_EMULATOR_HOST is 'http://localhost:9099': it must be host:port without a scheme",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "real-shop", "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9099"},
            "GOOGLE_CLOUD_PROJECT is 'real-shop'",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "real-shop", "MSTOKEN_API_KEY": "two words"},
            "MSTOKEN_API_KEY is (hidden): it must be the web API key",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "real-shop", "MSTOKEN_API_KEY": "two\nlines"},
            "MSTOKEN_API_KEY is (hidden): it must be the web API key",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "real-shop", "MSTOKEN_API_KEY": "kéy"},
            "MSTOKEN_API_KEY is (hidden): it must be the web API key",
        ),
        ({"GOOGLE_CLOUD_PROJECT": " "}, "GOOGLE_CLOUD_PROJECT is not set, and it is required. Set it to"),
        (
            {"GOOGLE_CLOUD_PROJECT": "example.com:demo-shop", "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9099"},
            "the project id must begin with 'demo-'",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_MODE": "dpop"},
            "MSTOKEN_MODE is 'dpop': it must be 'fresh' or 'proof'.",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_REQUIRE_PROOF": "maybe"},
            "MSTOKEN_REQUIRE_PROOF is 'maybe': it must be true or false.",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_BASE_URL": "product.example.com"},
            "MSTOKEN_BASE_URL is 'product.example.com': it must be an http or https URL without a query",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_BASE_URL": "https://product.example.com?a=b"},
            "MSTOKEN_BASE_URL is 'https://product.example.com?a=b': it must be an http or https URL without a query",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_TOKEN_SERVICE_URL": "tokens.example.com"},
            "MSTOKEN_TOKEN_SERVICE_URL is 'tokens.example.com': it must be an http or https URL without a query",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_TOKEN_SERVICE_URL": "ftp://tokens.example.com"},
            "MSTOKEN_TOKEN_SERVICE_URL is 'ftp://tokens.example.com': it must be an http or https URL without a query",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "demo-shop", "MSTOKEN_TOKEN_SERVICE_URL": "https://tokens.example.com?a=b"},
            "MSTOKEN_TOKEN_SERVICE_URL is 'https://tokens.example.com?a=b': it must be an http or https URL",
        ),
        (
            {"GOOGLE_CLOUD_PROJECT": "real-shop", "MSTOKEN_TOKEN_SERVICE_URL": "http://tokens.example.com"},
            "MSTOKEN_TOKEN_SERVICE_URL is 'http://tokens.example.com': it must use https",
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
            "MSTOKEN_NONCE_SECRET is (hidden): it must have 32 random characters or more",
        ),
    ],
)
def test_the_error_names_the_wrong_setting(variables: dict[str, str], expected: str) -> None:
    """The error names the variable, the value that was read and what was expected."""
    with environment(**variables), pytest.raises(SettingsError) as caught:
        Settings()
    assert expected in str(caught.value)


@pytest.mark.parametrize("blank", ["", " ", "\n", "\t \r\n"])
def test_an_empty_variable_counts_as_unset(blank: str) -> None:
    """A compose file sets an empty variable for `${VARIABLE:-}`. So does a template without a value."""
    variables = {str(field.validation_alias): blank for field in Settings.model_fields.values()}
    with environment(GOOGLE_CLOUD_PROJECT="demo-shop"):
        unset = Settings()
    with environment(**(variables | {"GOOGLE_CLOUD_PROJECT": "demo-shop"})):
        assert Settings() == unset


def test_white_space_around_a_value_does_not_count() -> None:
    """A secret that is read from a file ends with a newline, and an HTTP header cannot contain one."""
    with environment(GOOGLE_CLOUD_PROJECT=" demo-shop\r\n", MSTOKEN_API_KEY="web-key\n", MSTOKEN_MODE="proof "):
        settings = Settings()
    assert (settings.project_id, settings.web_api_key, settings.mode) == ("demo-shop", "web-key", "proof")


@pytest.mark.parametrize(
    "project_id", ["demo-shop", "shop-7f3a2", "example.com:shop-7f3a2", "a.b-c.example:shop-7f3a2"]
)
def test_project_ids(project_id: str) -> None:
    """The id of a project may have the domain of its organization before it."""
    assert Settings(project_id=project_id).project_id == project_id


@pytest.mark.parametrize("project_id", [":shop-7f3a2", "example.com:", "example.com:a:shop-7f3a2", "a/b:shop-7f3a2"])
def test_other_project_ids_are_refused(project_id: str) -> None:
    """Without a domain before the colon, or with two colons, it is not a project id."""
    with pytest.raises(SettingsError, match="it must be a Firebase project id"):
        Settings(project_id=project_id)


def test_the_password_in_a_url_is_not_repeated() -> None:
    """The error about a URL with user information leaves that part out."""
    with pytest.raises(SettingsError, match=r"MSTOKEN_BASE_URL is 'https://\*\*\*@a': it must be") as caught:
        Settings(project_id="demo-shop", base_url="https://maya:s3cret@a")
    assert "s3cret" not in str(caught.value)


def test_the_emulator_can_have_an_ipv6_address() -> None:
    """An IPv6 address is written in brackets, before the port."""
    assert Settings(project_id="demo-shop", emulator_host="[::1]:9099").emulator_host == "[::1]:9099"


def test_rest_urls_depend_on_the_emulator() -> None:
    """The REST URLs are the emulator's if its variable is set, and Google's otherwise."""
    emulated = Settings(project_id="demo-shop", emulator_host="127.0.0.1:9099")
    assert emulated.identity_toolkit_url == "http://127.0.0.1:9099/identitytoolkit.googleapis.com/v1"
    assert emulated.secure_token_url == "http://127.0.0.1:9099/securetoken.googleapis.com/v1"
    with environment():
        real = Settings(project_id="real-shop")
    assert real.identity_toolkit_url == "https://identitytoolkit.googleapis.com/v1"


@pytest.mark.parametrize(
    ("value", "normalized"),
    [
        ("https://tokens.example.com/token", "https://tokens.example.com/token"),
        ("https://tokens.example.com/token/", "https://tokens.example.com/token"),
        ("HTTPS://Tokens.Example.com:443/a/../token", "https://tokens.example.com/token"),
        ("https://tokens.example.com", "https://tokens.example.com"),
    ],
)
def test_the_token_service_url_is_normalized(value: str, normalized: str) -> None:
    """Credentials are made for this URL, so both sides must write it in the same way."""
    with environment():
        assert Settings(project_id="real-shop", token_service_url=value).token_service_url == normalized


def test_with_the_emulator_the_token_service_may_use_http() -> None:
    """Plain http is accepted if the Auth emulator's variable is set: the requests stay on one machine."""
    url = "http://127.0.0.1:5001/demo-shop/us-central1/token"
    with environment():
        settings = Settings(project_id="demo-shop", emulator_host="127.0.0.1:9099", token_service_url=url)
    assert settings.token_service_url == url


def test_the_token_service_is_optional() -> None:
    """Without a token service and its key, settings are valid: the process signs custom tokens itself."""
    with environment():
        settings = Settings(project_id="real-shop")
    assert (settings.token_service_url, settings.private_key_file) == (None, None)


def test_with_the_emulator_googles_certificates_come_from_the_metadata_emulator() -> None:
    """A missing or malformed address of the metadata emulator is an error when the URL is read, not before."""
    with environment(GOOGLE_CLOUD_PROJECT="demo-shop", FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"):
        emulated = Settings(metadata_host="127.0.0.1:9103")
        without = Settings()
        misplaced = Settings(metadata_host="http://127.0.0.1:9103")
    assert emulated.google_certificates_url == "http://127.0.0.1:9103/oauth2/v1/certs"
    with pytest.raises(SettingsError, match="GCE_METADATA_HOST is None: it must be host:port of the metadata emulator"):
        _ = without.google_certificates_url
    with pytest.raises(SettingsError, match=r"GCE_METADATA_HOST is 'http:.*: it must be host:port"):
        _ = misplaced.google_certificates_url


@pytest.mark.parametrize("metadata_host", [None, "169.254.169.254", "127.0.0.1:9103"])
def test_in_production_googles_certificates_come_from_google(metadata_host: str | None) -> None:
    """The metadata server's address has no effect: certificates from elsewhere would let anyone forge tokens."""
    with environment():
        settings = Settings(project_id="real-shop", metadata_host=metadata_host)
    assert settings.google_certificates_url == "https://www.googleapis.com/oauth2/v1/certs"


def test_the_api_key_is_required_in_production_only() -> None:
    """A missing key is an error when a caller reads it; with the emulator a key is not needed."""
    with environment():
        assert Settings(project_id="demo-shop", emulator_host="127.0.0.1:9099").web_api_key
        with pytest.raises(SettingsError, match="MSTOKEN_API_KEY is not set"):
            _ = Settings(project_id="real-shop").web_api_key
        with pytest.raises(
            SettingsError, match=r"^GOOGLE_CLOUD_PROJECT is 'demo-shop'.*FIREBASE_AUTH_EMULATOR_HOST is not"
        ):
            _ = Settings(project_id="demo-shop").web_api_key


def test_secrets_are_never_printed() -> None:
    """Neither the text of settings nor an error about a secret contains the API key or the secret."""
    settings = Settings(project_id="demo-shop", api_key="web-key", base_url="http://a", nonce_secret="n" * 32)
    assert "web-key" not in repr(settings)
    assert "n" * 32 not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        Settings(project_id="demo-shop", nonce_secret="too-short")
    assert "too-short" not in str(caught.value)


@pytest.mark.parametrize(
    ("in_environment", "in_settings"), [("127.0.0.1:9099", None), (None, "127.0.0.1:9099"), ("a:1", "b:1")]
)
def test_environment_and_settings_must_agree_on_the_emulator(
    in_environment: str | None, in_settings: str | None
) -> None:
    """firebase-admin reads the variable itself, and does not verify signatures while it is set."""
    with environment(**({"FIREBASE_AUTH_EMULATOR_HOST": in_environment} if in_environment else {})):
        settings = Settings(project_id="demo-shop", emulator_host=in_settings)
        with pytest.raises(SettingsError, match="both must be the same"):
            settings.check_process_environment()
