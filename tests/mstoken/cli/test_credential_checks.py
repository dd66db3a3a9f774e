"""What doctor checks about credentials."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.auth import compute_engine, external_account, impersonated_credentials
from google.auth.credentials import Signing
from google.oauth2 import credentials as oauth2
from google.oauth2 import service_account

from mstoken import Settings
from mstoken.cli import credential_checks as checks
from mstoken.cli.checks import Finding
from mstoken.cli.credential_checks import GoogleCredentials
from mstoken.cli.key_files import write_private_key
from tests.mstoken.cli.setups import laptop, network, production

TOKEN_SERVICE = "https://token.example.com"
ACCOUNT = "product@real-shop.iam.gserviceaccount.com"
IMPERSONATION_URL = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
LOOK_UP = "with the role Firebase Authentication Viewer"
TOKEN_CREATOR = "the role Service Account Token Creator"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"


@pytest.fixture(scope="module")
def key_file() -> dict[str, str]:
    """The content of the key file of a service account."""
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "real-shop",
        "client_email": ACCOUNT,
        "private_key": key.decode(),
        "token_uri": "https://oauth2.googleapis.com/token",
    }


USER = {"type": "authorized_user", "client_id": "s3cret", "client_secret": "s3cret", "refresh_token": "s3cret"}
IMPERSONATED = {
    "type": "impersonated_service_account",
    "service_account_impersonation_url": IMPERSONATION_URL,
    "source_credentials": USER,
}
FEDERATION = {"type": "external_account", "audience": "//iam.googleapis.com/x", "token_url": "https://sts.example.com"}


class MetadataServer:
    """The metadata server of a machine. It counts what it is asked for."""

    def __init__(self, content: object = None, *, flavor: str = "Google", status: int = 200) -> None:
        self.content = {"email": ACCOUNT, "scopes": [CLOUD_PLATFORM]} if content is None else content
        self.flavor = flavor
        self.status = status
        self.asked: list[tuple[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((str(request.url.host), request.headers["Metadata-Flavor"]))
        return httpx.Response(self.status, json=self.content, headers={"Metadata-Flavor": self.flavor})


NO_METADATA_SERVER = httpx.ConnectError("no such host")


def found_in(
    home: Path, *, network_answer: MetadataServer | Exception = NO_METADATA_SERVER, **environment: str
) -> GoogleCredentials | None:
    """Return the credentials that a process with this home and these variables has."""
    return checks.find_google_credentials(environment, network(network_answer), project="real-shop", home=home)


class TestKinds:
    """Each kind of application-default credentials, and what it can do."""

    @pytest.fixture
    def found(self, tmp_path: Path) -> Any:
        """Return a function that returns the credentials in a file that the variable names."""

        def find(content: object, **options: Any) -> GoogleCredentials:
            path = tmp_path / "credentials.json"
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            found = found_in(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(path), **options)
            assert found is not None
            assert "s3cret" not in found.text + found.advice
            return found

        return find

    def test_the_key_of_a_service_account(self, found: Any, key_file: dict[str, str]) -> None:
        """It signs and fetches identity tokens by itself, and looks up users with a role."""
        key = found(key_file)
        assert (key.signs, key.identity_tokens, key.looks_up) == ("yes", "yes", LOOK_UP)
        assert ACCOUNT in key.what

    def test_a_key_of_another_project(self, found: Any, key_file: dict[str, str]) -> None:
        """Firebase does not accept what it signs."""
        key = found(key_file | {"project_id": "other-shop"})
        assert key.signs.startswith("no, because it does not belong to real-shop")
        assert (key.identity_tokens, key.looks_up) == ("yes", LOOK_UP)

    @pytest.mark.parametrize("change", [{"private_key": "s3cret"}, {"private_key": 5}, {"client_email": None}])
    def test_a_key_that_is_not_complete(self, found: Any, key_file: dict[str, str], change: dict[str, Any]) -> None:
        """The finding does not repeat it."""
        content = {name: value for name, value in (key_file | change).items() if value is not None}
        assert found(content).problem == "the key of a service account is not complete"

    def test_the_credentials_of_a_person(self, found: Any) -> None:
        """They can only look up users, and only with a quota project."""
        person = found(USER)
        assert (person.signs, person.identity_tokens, person.looks_up) == ("no", "no", "no, without a quota project")
        assert "set-quota-project" in person.advice
        for with_quota in (
            found(USER | {"quota_project_id": "real-shop"}),
            found(USER, GOOGLE_CLOUD_QUOTA_PROJECT="x"),
        ):
            assert (with_quota.looks_up, with_quota.advice) == (LOOK_UP, "")

    def test_an_impersonated_account(self, found: Any) -> None:
        """It signs and fetches identity tokens through IAM, if IAM lets the other account do that."""
        account = found(IMPERSONATED)
        assert TOKEN_CREATOR in account.signs
        assert TOKEN_CREATOR in account.identity_tokens
        assert account.looks_up == LOOK_UP
        assert ACCOUNT in account.what

    def test_workload_identity_federation(self, found: Any) -> None:
        """It neither signs nor fetches identity tokens, with or without a service account."""
        for content, name in (
            (FEDERATION, "a principal of the workload identity pool"),
            (FEDERATION | {"service_account_impersonation_url": IMPERSONATION_URL}, f"the service account {ACCOUNT}"),
        ):
            federation = found(content)
            assert (federation.signs, federation.identity_tokens, federation.looks_up) == ("no", "no", LOOK_UP)
            assert name in federation.what

    def test_workload_identity_federation_on_google_cloud(self, found: Any) -> None:
        """Identity tokens come from the metadata server, if there is one, whatever the file contains."""
        federation = found(FEDERATION, network_answer=MetadataServer())
        assert federation.identity_tokens.startswith(f"as the service account {ACCOUNT}, from the metadata server")

    @pytest.mark.parametrize("content", ["{", "[]", "{}", '{"type": 5}', '{"type": "gdch_service_account"}'])
    def test_anything_else(self, found: Any, content: str) -> None:
        """A file with something else is a problem."""
        other = found(content)
        assert other.problem
        assert other.advice

    def test_the_file_of_gcloud(self, tmp_path: Path, key_file: dict[str, str]) -> None:
        """It is found in the user's folder, or where gcloud's variable says. It gives no identity tokens."""
        no_variables: dict[str, Any] = {}
        for folder, variables in (
            (tmp_path / ".config" / "gcloud", no_variables),
            (tmp_path / "other", {"CLOUDSDK_CONFIG": str(tmp_path / "other")}),
        ):
            folder.mkdir(parents=True)
            (folder / "application_default_credentials.json").write_text(json.dumps(key_file))
            found = found_in(tmp_path, **variables)
            assert found is not None
            assert (found.signs, found.identity_tokens) == (
                "yes",
                "no, unless GOOGLE_APPLICATION_CREDENTIALS names this file",
            )

    def test_the_metadata_server(self, tmp_path: Path) -> None:
        """The account of the machine signs through IAM, and its identity tokens are there for the asking."""
        server = MetadataServer()
        found = found_in(tmp_path, network_answer=server)
        assert found is not None
        assert TOKEN_CREATOR in found.signs
        assert (found.identity_tokens, found.looks_up) == ("yes", LOOK_UP)
        assert ACCOUNT in found.what
        assert server.asked == [("metadata.google.internal", "Google")]
        found_in(tmp_path, network_answer=server, GCE_METADATA_HOST="10.0.0.1:80")
        assert server.asked[1:] == [("10.0.0.1", "Google")]

    def test_a_machine_without_the_access_scope(self, tmp_path: Path) -> None:
        """A machine of Compute Engine with the default scopes can do neither, whatever roles its account has."""
        server = MetadataServer({"email": ACCOUNT, "scopes": ["https://www.googleapis.com/auth/logging.write"]})
        found = found_in(tmp_path, network_answer=server)
        assert found is not None
        assert found.signs == found.looks_up == "no, because the machine does not have the access scope cloud-platform"
        assert found.identity_tokens == "yes"
        assert "cloud-platform" in found.advice

    def test_a_machine_without_an_account(self, tmp_path: Path) -> None:
        """This is a problem with an advice."""
        found = found_in(tmp_path, network_answer=MetadataServer({}, status=404))
        assert found is not None
        assert (found.problem, bool(found.advice)) == ("this machine has no service account", True)

    def test_nothing(self, tmp_path: Path) -> None:
        """Without a file and a metadata server, there are no credentials. Another server does not count as one."""
        assert found_in(tmp_path) is None
        assert found_in(tmp_path, network_answer=MetadataServer(flavor="nginx")) is None


def test_what_google_auth_says() -> None:
    """The table agrees with google-auth: these classes sign, and the others do not."""
    assert issubclass(service_account.Credentials, Signing)
    assert issubclass(impersonated_credentials.Credentials, Signing)
    for kind in (oauth2.Credentials, external_account.Credentials, compute_engine.Credentials):
        assert not issubclass(kind, Signing)


KEY = GoogleCredentials("a key", "a file", "yes", "yes", LOOK_UP)
PERSON = GoogleCredentials("a person", "gcloud", looks_up=LOOK_UP)


class TestGoogleCredentials:
    """Whether the credentials are enough for the settings."""

    @pytest.mark.parametrize(
        ("settings", "credentials", "state"),
        [
            ({}, KEY, "ok"),
            ({}, PERSON, "error"),
            ({"token_service_url": TOKEN_SERVICE}, PERSON, "ok"),
            ({"token_service_url": TOKEN_SERVICE}, None, "error"),
            ({"token_service_url": TOKEN_SERVICE, "private_key_file": Path("key.pem")}, None, "warning"),
            ({}, GoogleCredentials("x", "y", "yes", problem="it is empty", advice="Fill it."), "error"),
            ({}, GoogleCredentials("x", "y", "yes", advice="Set a scope."), "warning"),
        ],
    )
    def test_in_production(self, settings: dict[str, Any], credentials: GoogleCredentials | None, state: str) -> None:
        """Without a token service a process must sign. A callee must look up users, a caller with a key need not."""
        finding = checks.check_google_credentials(production(**settings), credentials)
        assert (finding.state, bool(finding.advice)) == (state, state != "ok")

    def test_the_text(self) -> None:
        """The text says what they are, where they are from, and what they can do."""
        finding = checks.check_google_credentials(production(), KEY)
        assert finding.text == (
            "a key (a file). Sign custom tokens: yes. Fetch identity tokens: yes. "
            "Look up users: with the role Firebase Authentication Viewer."
        )

    def test_with_the_emulator(self) -> None:
        """The emulator needs none."""
        assert checks.check_google_credentials(laptop(), None).state == "ok"


class TestCredential:
    """What the process authenticates to the token service with."""

    def check(self, settings: Settings, credentials: GoogleCredentials | None = None) -> Finding:
        return checks.check_credential(settings, "warehouse", credentials)

    def test_a_private_key(self, tmp_path: Path) -> None:
        """The file must be readable, and there is a warning if other users can read it."""
        path = tmp_path / "key.pem"
        settings = production(token_service_url=TOKEN_SERVICE, private_key_file=path)
        assert self.check(settings).state == "error"
        write_private_key(path, ec.generate_private_key(ec.SECP256R1()))
        assert self.check(settings).state == "ok"
        for mode in (0o640, 0o604):
            path.chmod(mode)
            finding = self.check(settings)
            assert (finding.state, finding.advice) == ("warning", f"chmod 600 {path}")
        path.write_text("-----BEGIN PRIVATE KEY-----\ns3cret\n")
        finding = self.check(settings)
        assert (finding.state, "s3cret" in finding.text) == ("error", False)

    def test_an_identity_token(self) -> None:
        """It must come from credentials that give identity tokens."""
        settings = production(token_service_url=TOKEN_SERVICE)
        assert self.check(settings, KEY) == Finding("credential", "ok", "an identity token from a key")
        for credentials in (PERSON, None):
            finding = self.check(settings, credentials)
            assert (finding.state, "mstoken keys add" in finding.advice) == ("error", True)

    def test_the_metadata_emulator(self) -> None:
        """On a laptop, identity tokens come from the metadata emulator."""
        finding = self.check(laptop(token_service_url="http://127.0.0.1:5001/token", metadata_host="127.0.0.1:9103"))
        assert (finding.state, "127.0.0.1:9103" in finding.text) == ("ok", True)

    def test_without_a_token_service(self) -> None:
        """There is nothing to authenticate to."""
        assert self.check(production()).state == self.check(laptop()).state == "ok"
