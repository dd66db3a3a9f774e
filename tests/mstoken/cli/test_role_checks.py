"""What doctor finds out about roles, by what fails."""

import json

import httpx
import pytest
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from typing_extensions import override

from mstoken.cli import role_checks as checks
from mstoken.cli.role_checks import Abilities, GoogleAbilities
from mstoken.errors import MsTokenError, SettingsError, SignInUnavailable, VerifierUnavailable
from mstoken.issuer.service import TokenRequest
from tests.mstoken.cli.setups import network, production

TOKEN_SERVICE = "https://token.example.com"
FORBIDDEN = TransportError(
    'Error calling the IAM signBlob API: {"error": {"code": 403, "status": "PERMISSION_DENIED"}}'
)


class FakeAbilities(Abilities):
    """What a process may do: everything that has no error here. It keeps what was tried."""

    def __init__(
        self,
        *,
        look_up: MsTokenError | None = None,
        sign: Exception | None = FORBIDDEN,
        assertion: MsTokenError | None = None,
    ) -> None:
        self.errors = {"look_up": look_up, "sign": sign, "assertion": assertion}
        self.tried: list[object] = []

    @override
    async def look_up(self, uid: str) -> None:
        self._try("look_up", uid)

    @override
    def sign(self, message: bytes) -> None:
        self._try("sign", message)

    @override
    async def assertion(self, uid: str) -> str:
        self._try("assertion", uid)
        return "an-assertion"

    def _try(self, what: str, argument: object) -> None:
        self.tried.append(argument)
        if (error := self.errors[what]) is not None:
            raise error


class TestLookUp:
    def test_the_role_is_there(self) -> None:
        """The service's own identity is looked up, which need not exist."""
        abilities = FakeAbilities()
        assert checks.check_look_up(production(), "product", abilities).state == "ok"
        assert abilities.tried == ["svc:product"]

    def test_the_role_is_missing(self) -> None:
        """The finding names the role and what Firebase said."""
        abilities = FakeAbilities(look_up=VerifierUnavailable("Firebase could not be asked (PermissionDeniedError)."))
        finding = checks.check_look_up(production(), "product", abilities)
        assert (finding.state, "PermissionDenied" in finding.text) == ("error", True)
        assert "roles/firebaseauth.viewer" in finding.advice

    def test_no_credentials(self) -> None:
        """A callee needs Google's credentials."""
        abilities = FakeAbilities(look_up=SettingsError("firebase-admin finds no credentials."))
        assert checks.check_look_up(production(), "product", abilities).state == "error"


class TestSign:
    def test_a_service_that_cannot_sign(self) -> None:
        """This is right. What was to be signed does not have the form of a token."""
        abilities = FakeAbilities()
        settings = production(token_service_url=TOKEN_SERVICE)
        assert checks.check_cannot_sign(settings, "product", abilities).state == "ok"
        [message] = abilities.tried
        assert isinstance(message, bytes)
        assert b"." not in message[:15]

    def test_a_service_that_can_sign(self) -> None:
        """It could become every other service, so this is an error, which names the role to take away."""
        settings = production(token_service_url=TOKEN_SERVICE)
        finding = checks.check_cannot_sign(settings, "product", FakeAbilities(sign=None))
        assert (finding.state, "serviceAccountTokenCreator" in finding.advice) == ("error", True)

    @pytest.mark.parametrize("error", [RefreshError("no"), TransportError("503 backend error")])
    def test_an_outage(self, error: GoogleAuthError) -> None:
        """Then it is not known, which is a warning and never "cannot sign"."""
        settings = production(token_service_url=TOKEN_SERVICE)
        assert checks.check_cannot_sign(settings, "product", FakeAbilities(sign=error)).state == "warning"

    def test_credentials_that_cannot_sign_at_all(self) -> None:
        """Those of workload identity federation have no method for it."""
        settings = production(token_service_url=TOKEN_SERVICE)
        finding = checks.check_cannot_sign(settings, "product", FakeAbilities(sign=AttributeError("sign_bytes")))
        assert finding.state == "ok"

    def test_without_a_token_service(self) -> None:
        """The process must sign, and another check has said what that means. Nothing is tried."""
        abilities = FakeAbilities()
        assert checks.check_cannot_sign(production(), "product", abilities).state == "warning"
        assert abilities.tried == []


class TestPolicy:
    @pytest.mark.parametrize(
        ("status", "code", "state", "advice"),
        [
            (403, "audience_not_allowed", "ok", ""),
            (403, "credential_unknown", "error", "Add the account or the key to the policy"),
            (403, "identity_disabled", "error", "mstoken services enable product"),
            (401, "credential_untrusted", "error", "must be the same everywhere"),
            (503, "issuer_unavailable", "error", "log"),
            (200, "", "error", "log"),
        ],
    )
    def test_what_the_token_service_says(self, status: int, code: str, state: str, advice: str) -> None:
        """A refusal of the audience comes after the credential was accepted. No token is issued."""
        requests: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return httpx.Response(status, json={"code": code})

        settings = production(token_service_url=TOKEN_SERVICE)
        finding = checks.check_policy(settings, "product", FakeAbilities(), network(answer))
        assert (finding.state, advice in finding.advice) == (state, True)
        [request] = requests
        assert request.headers["Authorization"] == "Bearer an-assertion"
        assert json.loads(request.content) == {"audience": checks.NO_SERVICE, "mode": "fresh"}
        assert "an-assertion" not in f"{finding}"

    def test_the_request_is_a_valid_one(self) -> None:
        """So it is refused for its audience, and not for its form."""
        assert TokenRequest(audience=checks.NO_SERVICE, mode="fresh").jkt is None

    def test_no_credential(self) -> None:
        """The finding says what the platform did not provide."""
        abilities = FakeAbilities(assertion=SignInUnavailable("svc:product", "the platform provided no identity token"))
        settings = production(token_service_url=TOKEN_SERVICE)
        finding = checks.check_policy(settings, "product", abilities, network(AssertionError()))
        assert (finding.state, "no identity token" in finding.text) == ("error", True)

    def test_an_outage(self) -> None:
        """It is an error with the kind of failure."""
        settings = production(token_service_url=TOKEN_SERVICE)
        finding = checks.check_policy(settings, "product", FakeAbilities(), network(httpx.ConnectError("no")))
        assert (finding.state, "ConnectError" in finding.text) == ("error", True)

    def test_no_token_service(self) -> None:
        """Nothing is asked."""
        assert (
            checks.check_policy(production(), "product", FakeAbilities(), network(AssertionError())).state == "warning"
        )


def test_the_abilities_of_a_key(tmp_path: object) -> None:
    """A service with a key of its own that cannot be read gets an error of the settings."""
    settings = production(token_service_url=TOKEN_SERVICE, private_key_file=f"{tmp_path}/missing.pem")
    finding = checks.check_policy(settings, "product", GoogleAbilities(settings, "product"), network(AssertionError()))
    assert (finding.state, "MSTOKEN_PRIVATE_KEY_FILE" in finding.text) == ("error", True)
