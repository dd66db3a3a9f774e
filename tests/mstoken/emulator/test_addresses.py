"""The variables that make a process use the local emulators."""

from mstoken.emulator.addresses import LocalEmulators
from mstoken.settings import Settings

EMULATORS = LocalEmulators("demo-shop", "127.0.0.1:9099", 9100, {"billing": 9103})


def test_every_process_uses_the_signed_auth_emulator() -> None:
    """The variables are the settings of a caller and of a callee."""
    variables = EMULATORS.environment()
    assert variables == {"FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9100", "GOOGLE_CLOUD_PROJECT": "demo-shop"}
    settings = Settings(emulator_host=variables["FIREBASE_AUTH_EMULATOR_HOST"], project_id="demo-shop")
    assert settings.certificates_url.startswith("http://127.0.0.1:9100/")


def test_a_service_has_a_metadata_server_of_its_own() -> None:
    """google-auth finds the metadata server of a service by two variables."""
    added = EMULATORS.environment("billing").items() - EMULATORS.environment().items()
    assert dict(added) == {"GCE_METADATA_HOST": "127.0.0.1:9103", "GCE_METADATA_IP": "127.0.0.1:9103"}
