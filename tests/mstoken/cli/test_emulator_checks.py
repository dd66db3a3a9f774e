"""What doctor checks about the Auth emulator."""

from collections.abc import Callable, Mapping

import httpx
import pytest

from emulator.run.ports import HOST, free_offset
from emulator.run.stack import Stack
from mstoken import Settings
from mstoken.cli import emulator_checks as checks
from mstoken.cli.checks import Finding
from mstoken.emulator.keys import Key
from mstoken.emulator.signed_auth import CERTIFICATES_PATH
from tests.mstoken.cli.setups import network
from tests.mstoken.test_settings import environment

EMULATOR = {"FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9100"}
KEY = Key()
CERTIFICATES = httpx.Response(200, json={KEY.key_id: KEY.certificate})
AUTH = httpx.Response(200, json={"authEmulator": {"ready": True, "docs": "https://firebase.google.com"}})


class TestVariable:
    @pytest.mark.parametrize(
        ("variables", "state"),
        [
            ({"GOOGLE_CLOUD_PROJECT": "real-shop"}, "ok"),
            ({**EMULATOR, "GOOGLE_CLOUD_PROJECT": "demo-shop"}, "ok"),
            ({**EMULATOR, "GOOGLE_CLOUD_PROJECT": "real-shop"}, "error"),
            (EMULATOR, "error"),
            ({**EMULATOR, "GOOGLE_CLOUD_PROJECT": "demo-shop", "K_SERVICE": "product"}, "error"),
            (
                {**EMULATOR, "GOOGLE_CLOUD_PROJECT": "demo-shop", "K_SERVICE": "token", "FUNCTIONS_EMULATOR": "true"},
                "ok",
            ),
        ],
    )
    def test_the_variable_of_the_emulator(self, variables: Mapping[str, str], state: str) -> None:
        """It is an error in a project that may be real, and on Cloud Run in any project, but not on a laptop."""
        finding = checks.check_emulator(variables)
        assert finding.state == state
        assert ("Unset FIREBASE_AUTH_EMULATOR_HOST" in finding.advice) == (state == "error")

    def test_a_demo_project_without_an_emulator(self) -> None:
        """Such a project exists on emulators only, so a laptop where the variable was forgotten is an error."""
        finding = checks.check_emulator({"GOOGLE_CLOUD_PROJECT": "demo-shop"})
        assert (finding.state, finding.text) == (
            "error",
            "the project demo-shop exists on emulators only, and FIREBASE_AUTH_EMULATOR_HOST is not set",
        )
        assert "(mstoken emulator), and set FIREBASE_AUTH_EMULATOR_HOST" in finding.advice


def settings(address: str) -> Settings:
    """Return the settings of a process on a laptop whose variable names this address."""
    with environment():
        return Settings(project_id="demo-shop", emulator_host=address)


def program(certificates: httpx.Response, root: httpx.Response) -> Callable[[httpx.Request], httpx.Response]:
    """Return a program that answers the request for certificates and the one for the root."""
    return lambda request: certificates if request.url.path == CERTIFICATES_PATH else root


class TestAddress:
    def check(
        self, answer: Exception | Callable[[httpx.Request], httpx.Response], address: str = "127.0.0.1:9100"
    ) -> Finding:
        return checks.check_emulator_address(settings(address), network(answer))

    def test_the_signed_emulator(self) -> None:
        """With the Auth emulator behind it, everything is as it should be."""
        finding = self.check(program(CERTIFICATES, AUTH))
        assert (finding.state, finding.text) == (
            "ok",
            "the project demo-shop uses the signed Auth emulator at 127.0.0.1:9100",
        )

    @pytest.mark.parametrize(
        ("address", "answer", "text"),
        [
            ("127.0.0.1:9100", httpx.ConnectError("refused"), "nothing listens there"),
            (
                "127.0.0.1:6379",
                httpx.RemoteProtocolError("-ERR"),
                "does not answer HTTP requests (RemoteProtocolError)",
            ),
            ("127.0.0.1:9100", httpx.ReadTimeout("slow"), "does not answer HTTP requests (ReadTimeout)"),
            (
                "127.0.0.1:9099",
                program(httpx.Response(404), AUTH),
                "is the raw Auth emulator: its ID tokens are unsigned, so every callee refuses them",
            ),
            (
                "127.0.0.1:5000",
                program(httpx.Response(404), httpx.Response(404, html="<html>")),
                "but the Hosting emulator, by its port; GET / is answered with 404 and text/html",
            ),
            (
                "127.0.0.1:5000",
                program(httpx.Response(200, html="<html>"), httpx.Response(200, html="<html>")),
                "but the Hosting emulator, by its port; GET / is answered with 200 and text/html",
            ),
            ("127.0.0.1:4400", program(httpx.Response(404), httpx.Response(200, json={})), "but the emulator hub"),
            (
                "127.0.0.1:9104",
                program(httpx.Response(403), httpx.Response(200, headers={"Metadata-Flavor": "Google"})),
                "but a metadata server or its emulator",
            ),
            (
                "127.0.0.1:8002",
                program(httpx.Response(404, json={"code": "not_found"}), httpx.Response(404, json={})),
                "but another program; GET / is answered with 404 and application/json",
            ),
            (
                "127.0.0.1:8002",
                program(httpx.Response(200, json={}), httpx.Response(204)),
                "GET / is answered with 204",
            ),
            ("127.0.0.1:8002", program(httpx.Response(200, json=["x"]), httpx.Response(204)), "another program"),
            ("127.0.0.1:8002", program(httpx.Response(200, json={"x": 1}), httpx.Response(204)), "another program"),
        ],
    )
    def test_anything_else(
        self, address: str, answer: Exception | Callable[[httpx.Request], httpx.Response], text: str
    ) -> None:
        """The finding says what is at the address, and what to set the variable to."""
        finding = self.check(answer, address)
        assert (finding.state, text in finding.text, address in finding.text) == ("error", True, True), finding.text
        assert "mstoken emulator" in finding.advice
        assert "FIREBASE_AUTH_EMULATOR_HOST" in finding.advice
        assert "127.0.0.1:9100" in finding.advice

    def test_the_signed_emulator_alone(self) -> None:
        """If the Auth emulator behind it does not run, the advice is to start that one."""
        finding = self.check(program(CERTIFICATES, httpx.Response(503, json={"error": {"code": 503}})))
        assert (finding.state, "firebase emulators:start" in finding.advice) == ("error", True)

    def test_the_emulators_of_firebase(self, emulators: Stack) -> None:
        """On the running emulators, each address is told apart: signed, raw, another emulator, and nothing."""
        ports = emulators.ports
        expected = {
            ports.signed_auth: "uses the signed Auth emulator at",
            ports.auth: "is the raw Auth emulator",
            ports.hub: "but another program; GET / is answered with 200 and application/json",
            ports.functions: "but another program; GET / is answered with 404",
            ports.tasks: "but another program; GET / is answered with",
            ports.metadata_billing: "but a metadata server or its emulator",
            ports.shifted(free_offset()).auth: "and nothing listens there",
        }
        with httpx.Client(trust_env=False, timeout=10) as client:
            found = {port: checks.check_emulator_address(settings(f"{HOST}:{port}"), client) for port in expected}
        assert {port: text for port, text in expected.items() if text not in found[port].text} == {}
        assert [port for port, finding in found.items() if finding.state == "ok"] == [ports.signed_auth]
