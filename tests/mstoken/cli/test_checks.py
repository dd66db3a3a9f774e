"""What doctor checks."""

import json
from collections.abc import Callable

import httpx
import pytest

from mstoken.cli import checks
from mstoken.cli.checks import Finding
from mstoken.errors import SettingsError
from tests.mstoken.cli.setups import laptop, network, production

TOKEN_SERVICE = "https://token.example.com"


class TestSettings:
    def test_valid_settings(self) -> None:
        """Without an error of the settings, the state is ok."""
        assert checks.settings_finding(None).state == "ok"

    def test_invalid_settings(self) -> None:
        """The finding has the text of the error, which says what is wrong."""
        finding = checks.settings_finding(SettingsError("MSTOKEN_MODE is 'x'."))
        assert (finding.state, finding.text) == ("error", "MSTOKEN_MODE is 'x'.")
        assert finding.advice


class TestApiKey:
    def error(self, status: int, message: str) -> httpx.Response:
        return httpx.Response(status, json={"error": {"code": status, "message": message}})

    def test_firebase_accepts_the_key(self) -> None:
        """Firebase refuses the invalid custom token only after it has accepted the key."""
        requests = []

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append((request.url.host, request.headers["x-goog-api-key"], json.loads(request.content)["token"]))
            assert not request.url.query
            return self.error(400, "INVALID_CUSTOM_TOKEN : Invalid assertion format.")

        assert checks.check_api_key(production(api_key="web-key"), network(answer)).state == "ok"
        assert requests == [("identitytoolkit.googleapis.com", "web-key", "not-a-token")]

    @pytest.mark.parametrize(
        ("status", "message", "state", "advice"),
        [
            (400, "API key not valid. Please pass a valid API key.", "error", "Set MSTOKEN_API_KEY to a valid key"),
            (400, "API_KEY_INVALID", "error", "Set MSTOKEN_API_KEY to a valid key"),
            (403, "Requests from referer <empty> are blocked.", "error", "Identity Toolkit API"),
            (400, "CONFIGURATION_NOT_FOUND", "error", "Enable Authentication"),
            (400, "TOKEN_EXPIRED", "error", "Set MSTOKEN_API_KEY to a valid key"),
            (404, "Not Found", "error", "Set MSTOKEN_API_KEY to a valid key"),
            (429, "TOO_MANY_ATTEMPTS", "warning", "Try again later"),
            (503, "backend error", "warning", "Try again later"),
            (200, "", "error", "Set MSTOKEN_API_KEY to a valid key"),
        ],
    )
    def test_firebase_does_not_accept_the_key(self, status: int, message: str, state: str, advice: str) -> None:
        """The finding has the answer of Firebase, and what to do about it."""
        finding = checks.check_api_key(production(api_key="web-key"), network(self.error(status, message)))
        assert (finding.state, str(status) in finding.text, advice in finding.advice) == (state, True, True)

    def test_the_key_is_not_repeated(self) -> None:
        """This holds also if the answer contains the key."""
        answers = (self.error(400, "key web-key is bad"), httpx.ConnectError("header web-key"))
        for answer in answers:
            finding = checks.check_api_key(production(api_key="web-key"), network(answer))
            assert finding.state == "error"
            assert "web-key" not in f"{finding.text}{finding.advice}"

    def test_no_key(self) -> None:
        """Only callers need a key, so this is a warning. The emulator accepts any key."""
        unused = network(AssertionError())
        assert checks.check_api_key(production(), unused).state == "warning"
        assert checks.check_api_key(laptop(), unused).state == "ok"


class TestTokenService:
    def check(self, answer: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]) -> Finding:
        return checks.check_token_service(production(token_service_url=TOKEN_SERVICE), network(answer))

    def test_the_token_service_refuses_a_request_without_a_credential(self) -> None:
        """The check sends a POST without a credential and expects exactly that refusal."""
        requests = []

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append((request.method, str(request.url).rstrip("/"), request.headers.get("Authorization")))
            return httpx.Response(401, json={"code": "credential_missing"})

        assert self.check(answer).state == "ok"
        assert requests == [("POST", TOKEN_SERVICE, None)]

    @pytest.mark.parametrize(
        ("answer", "advice"),
        [
            (httpx.ConnectError("no"), "deployed"),
            (httpx.Response(401, text="Unauthorized"), "Allow all invokers"),
            (httpx.Response(403, text="<html>"), "Allow all invokers"),
            (httpx.Response(404), "the URL of the function token"),
            (httpx.Response(200, json={"custom_token": "x"}), "the URL of the function token"),
            (httpx.Response(503, json={"code": "verifier_unavailable"}), "log"),
        ],
    )
    def test_any_other_answer_is_an_error(self, answer: httpx.Response | Exception, advice: str) -> None:
        """Each error has advice."""
        finding = self.check(answer)
        assert (finding.state, advice in finding.advice) == ("error", True)

    def test_no_token_service(self) -> None:
        """In production this is a warning, because a process that signs can become anyone. It is ok on a laptop."""
        unused = network(AssertionError())
        assert checks.check_token_service(production(), unused).state == "warning"
        assert checks.check_token_service(laptop(), unused).state == "ok"


def test_the_base_url() -> None:
    """Without it a callee cannot verify proofs, so there is a warning."""
    missing = checks.check_base_url(production())
    assert (missing.state, "503" in missing.text) == ("warning", True)
    assert checks.check_base_url(production(base_url="https://product.example.com")).state == "ok"
