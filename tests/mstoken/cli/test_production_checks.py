"""What doctor checks in production besides the rest."""

from typing import Any

import httpx
import pytest

from mstoken.cli import production_checks as checks
from mstoken.cli.checks import CheckState, Finding
from mstoken.cli.credential_checks import GoogleCredentials
from tests.mstoken.cli.setups import laptop, network, production

SECRET = "a secret of 32 random characters or more"
METADATA = GoogleCredentials(
    "the service account product@real-shop.iam.gserviceaccount.com", "the metadata server at metadata.google.internal"
)
UNUSED = network(AssertionError())
CLOUD_RUN = {"K_SERVICE": "user"}


class TestStrict:
    @pytest.mark.parametrize(
        ("name", "state", "strict"),
        [
            ("token service", "warning", "error"),
            ("replay store", "warning", "error"),
            ("replay store", "ok", "ok"),
            ("API key", "warning", "warning"),
        ],
    )
    def test_some_warnings_are_errors(self, name: str, state: CheckState, strict: CheckState) -> None:
        """What is right on a laptop, such as a process that signs for itself, is an error in production."""
        finding = Finding(name, state, "text", "advice")
        assert checks.strict(finding) == Finding(name, strict, "text", "advice")


class TestEmulatorVariables:
    def test_none(self) -> None:
        """An environment without them is right, also if one is set to nothing."""
        assert checks.check_emulator_variables({"K_SERVICE": "product", "PUBSUB_EMULATOR_HOST": ""}).state == "ok"

    @pytest.mark.parametrize("variable", checks.EMULATOR_VARIABLES)
    def test_one(self, variable: str) -> None:
        """Each of them is an error, which names it."""
        finding = checks.check_emulator_variables({variable: "127.0.0.1:9100"})
        assert (finding.state, variable in finding.text) == ("error", True)


class TestProject:
    def test_the_project_in_which_the_process_runs(self) -> None:
        """The metadata server tells it."""
        finding = checks.check_project(production(), METADATA, network(httpx.Response(200, text="real-shop\n")))
        assert (finding.state, finding.text) == ("ok", "real-shop, in which this process runs")

    def test_another_project(self) -> None:
        """A variable that was copied from another project stops all calls."""
        finding = checks.check_project(production(), METADATA, network(httpx.Response(200, text="test-shop")))
        assert (finding.state, "runs in test-shop" in finding.text) == ("error", True)

    @pytest.mark.parametrize("answer", [httpx.Response(404), httpx.ConnectError("no")])
    def test_no_answer(self, answer: httpx.Response | Exception) -> None:
        """Then the project is not compared, which is a warning."""
        assert checks.check_project(production(), METADATA, network(answer)).state == "warning"

    def test_outside_google_cloud(self) -> None:
        """Nothing there tells the project."""
        assert checks.check_project(production(), None, UNUSED).state == "ok"

    def test_a_demo_project(self) -> None:
        """It exists on emulators only."""
        assert checks.check_project(laptop(), None, UNUSED).state == "error"


class TestAccount:
    @pytest.mark.parametrize(
        ("what", "state"),
        [
            ("the service account product@real-shop.iam.gserviceaccount.com", "ok"),
            ("the service account 123-compute@developer.gserviceaccount.com", "error"),
            ("the service account real-shop@appspot.gserviceaccount.com", "error"),
            ("the key of the service account product@real-shop.iam.gserviceaccount.com", "error"),
            ("the credentials of a person, from gcloud", "error"),
            ("workload identity federation, as the service account product@real-shop", "ok"),
        ],
    )
    def test_the_account(self, what: str, state: str) -> None:
        """A service has an account of its own, without a key. The default accounts can often act as all others."""
        assert checks.check_account(GoogleCredentials(what, "somewhere")).state == state

    def test_no_account(self) -> None:
        """A service outside Google Cloud has a key of its own."""
        assert checks.check_account(None).state == "ok"


class TestStoreIsShared:
    @pytest.mark.parametrize(
        ("settings", "environment", "state"),
        [
            ({"replay_url": "redis://10.8.0.3:6379/0"}, {}, "ok"),
            ({"replay_url": "rediss://:p4ss@cache.example.com:6378/0?ssl_ca_certs=/ca.pem"}, CLOUD_RUN, "ok"),
            ({"replay_url": "postgresql://product:p4ss@10.8.0.4/product"}, CLOUD_RUN, "ok"),
            ({"replay_url": "firestore:"}, CLOUD_RUN, "ok"),
            ({"replay_url": "redis://localhost:6379/0"}, {}, "error"),
            ({"replay_url": "redis://127.0.0.1:6379/0"}, {}, "error"),
            ({"replay_url": "redis://[::1]:6379/0"}, {}, "error"),
            ({"replay_url": "unix:///run/redis.sock"}, {}, "error"),
            ({"replay_url": "postgresql:///product"}, {}, "error"),
            ({"replay_url": "memory:"}, {}, "error"),
            ({"replay_url": "sqlite:////data/spent.db"}, {}, "warning"),
            ({"replay_url": "sqlite:////data/spent.db"}, CLOUD_RUN, "error"),
            ({"replay_url": "memory:", "single_instance": True}, CLOUD_RUN, "warning"),
        ],
    )
    def test_the_store(self, settings: dict[str, Any], environment: dict[str, str], state: str) -> None:
        """A store of one process or machine lets a second instance accept a used token again."""
        finding = checks.check_store_is_shared(production(**settings), environment)
        expected = "ok" if settings.get("single_instance") else state
        assert (finding.state, "p4ss" in f"{finding}") == (expected, False)


class TestNonceSecret:
    def test_the_fingerprint(self) -> None:
        """It is shown for the comparison. The secret is not, and nothing of it."""
        finding = checks.check_nonce_secret(production(nonce_secret=SECRET, base_url="https://p.example.com"), None)
        assert finding.state == "ok"
        assert checks.fingerprint(SECRET) in finding.text
        assert "secret of" not in finding.text

    def test_the_same_secret(self) -> None:
        """Two processes with one secret agree, whatever case somebody typed."""
        settings = production(nonce_secret=SECRET, base_url="https://p.example.com")
        assert checks.check_nonce_secret(settings, checks.fingerprint(SECRET).upper()).state == "ok"

    def test_another_secret(self) -> None:
        """A process whose secret is another one refuses the nonces of the others."""
        settings = production(nonce_secret=SECRET, base_url="https://p.example.com")
        finding = checks.check_nonce_secret(settings, checks.fingerprint(f"{SECRET}."))
        assert (finding.state, "same version" in finding.advice) == ("error", True)

    def test_no_secret(self) -> None:
        """It is not required, except if another process has one."""
        assert checks.check_nonce_secret(production(), None).state == "ok"
        assert checks.check_nonce_secret(production(), "0123abcd").state == "error"

    def test_a_fingerprint_is_not_a_plain_hash(self) -> None:
        """It is eight characters of an HMAC, so it equals no other digest of the secret that may be shown."""
        assert len(checks.fingerprint(SECRET)) == 8
        assert checks.fingerprint(SECRET) != checks.fingerprint(f"{SECRET} ")


class TestBaseUrlAnswers:
    @pytest.mark.parametrize(
        ("answer", "state"),
        [
            (httpx.Response(200), "ok"),
            (httpx.Response(404, json={"code": "not_found"}), "ok"),
            (httpx.Response(401), "ok"),
            (httpx.Response(502), "error"),
            (httpx.Response(301, headers={"Location": "https://www.example.com/"}), "error"),
            (httpx.ConnectError("certificate verify failed"), "error"),
            (httpx.ReadTimeout("slow"), "error"),
        ],
    )
    def test_the_answer(self, answer: httpx.Response | Exception, state: str) -> None:
        """Any answer of a program is right, but not that of a front end that has no service behind it."""
        settings = production(base_url="https://product.example.com")
        assert checks.check_base_url_answers(settings, network(answer)).state == state

    def test_without_https(self) -> None:
        """Tokens must not be readable on the way, so nothing is sent there."""
        assert checks.check_base_url_answers(production(base_url="http://product.example.com"), UNUSED).state == "error"

    def test_no_base_url(self) -> None:
        """Another check says what that means."""
        assert checks.check_base_url_answers(production(), UNUSED).state == "warning"


class TestForwardedAddresses:
    @pytest.mark.parametrize(
        ("environment", "state"),
        [
            ({}, "ok"),
            ({"TRUSTED_PROXIES": "1", "K_SERVICE": "user"}, "ok"),
            ({"TRUSTED_PROXIES": "0"}, "ok"),
            ({"TRUSTED_PROXIES": "0", "K_SERVICE": "user"}, "error"),
            ({"FORWARDED_ALLOW_IPS": "*"}, "error"),
            ({"FORWARDED_ALLOW_IPS": "10.0.0.1, *", "TRUSTED_PROXIES": "1"}, "error"),
            ({"FORWARDED_ALLOW_IPS": "10.0.0.1"}, "ok"),
        ],
    )
    def test_what_the_variables_tell(self, environment: dict[str, str], state: str) -> None:
        """A star makes the client's own entry count, and behind a platform's front end there is one proxy at least."""
        assert checks.check_forwarded_addresses(production(), environment).state == state


class TestHttpParser:
    @pytest.mark.parametrize(
        ("environment", "installed", "state"),
        [
            ({}, False, "ok"),
            ({}, True, "warning"),
            ({"UVICORN_HTTP": "h11"}, True, "ok"),
            ({"UVICORN_HTTP": "httptools"}, True, "error"),
        ],
    )
    def test_the_parser(self, environment: dict[str, str], installed: bool, state: str) -> None:
        """Httptools takes trailers for headers, and uvicorn uses it where it is installed."""

        def find(_name: str) -> object | None:
            return object() if installed else None

        assert checks.check_http_parser(environment, find).state == state
