"""Application Default Credentials: what can sign."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mstoken.errors import SettingsError
from mstoken.google_credentials import CANNOT_SIGN, CREDENTIALS_VARIABLE, check_can_sign, gcloud_file, named_type


def written(folder: Path, content: Mapping[str, Any] | str) -> dict[str, str]:
    """Write a file of credentials, and return the environment that names it."""
    file = folder / "credentials.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return {CREDENTIALS_VARIABLE: str(file)}


class TestFiles:
    """Files of credentials, which are read when a program starts."""

    @pytest.mark.parametrize("kind", CANNOT_SIGN)
    def test_credentials_that_cannot_sign(self, tmp_path: Path, kind: str) -> None:
        """The error names the file and its type, and says what to do."""
        environment = written(tmp_path, {"type": kind, "refresh_token": "secret"})
        with pytest.raises(SettingsError, match=rf"credentials\.json' cannot.*\({kind}\)\. Set GOOGLE_APP") as caught:
            check_can_sign(environment, tmp_path)
        assert "MSTOKEN_TOKEN_SERVICE_URL" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert named_type(environment) == kind

    @pytest.mark.parametrize(
        "content", [{"type": "service_account"}, {"type": "impersonated_service_account"}, {"type": "new"}, {}, "[]"]
    )
    def test_credentials_that_may_sign(self, tmp_path: Path, content: Mapping[str, Any] | str) -> None:
        """Keys and impersonated accounts can sign. About what is unknown here, google-auth decides."""
        check_can_sign(written(tmp_path, content), tmp_path)

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        """The error says why. It does not repeat the contents."""
        missing = {CREDENTIALS_VARIABLE: str(tmp_path / "none.json")}
        for check in (named_type, lambda environment: check_can_sign(environment, tmp_path)):
            with pytest.raises(SettingsError, match=r"none\.json': it cannot be read \(No such file"):
                check(missing)
            with pytest.raises(SettingsError, match=r"credentials\.json': it is not JSON") as caught:
                check(written(tmp_path, "secret"))
            assert "secret" not in str(caught.value)

    def test_the_file_of_gcloud(self, tmp_path: Path) -> None:
        """Without the variable, the file of `gcloud auth application-default login` counts."""
        check_can_sign({}, tmp_path)
        for environment in ({}, {"CLOUDSDK_CONFIG": str(tmp_path / "elsewhere")}):
            file = gcloud_file(environment, tmp_path)
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps({"type": "authorized_user"}))
            with pytest.raises(SettingsError, match="of a person"):
                check_can_sign(environment, tmp_path)
        assert named_type({}) is None
