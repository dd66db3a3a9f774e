"""How a service authenticates to the token service: with Google's identity token, or with its own private key."""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc import jwk

from emulator.run.ports import HOST, Ports, free_offset
from emulator.run.processes import Supervisor
from mstoken.caller.credentials import PrivateKeyCredential
from mstoken.emulator.metadata import CERTIFICATES_PATH
from mstoken.errors import SettingsError
from mstoken.strict_jwt import base64url, base64url_decode, unverified
from tests.clock import FakeClock
from tests.mstoken.caller.fakes import DEADLINE_SECONDS
from tests.mstoken.metadata_server import Google, Machine, reports, token_of

ROOT = Path(__file__).parents[3]
URL = "https://tokens.example/token"
EARLY_SECONDS = 225
"""How many seconds before its end google-auth treats a token as expired."""

PREAMBLE = f"""
import asyncio, json, os, sys, threading
from mstoken.caller.credentials import GoogleIdentity
from mstoken.errors import SignInError

credential = GoogleIdentity({URL!r})

def assertion():
    return asyncio.run(credential.assertion("svc:billing"))

def report(value):
    print(json.dumps(value), flush=True)
"""

REPORT_ERROR = """
try:
    report(assertion())
except SignInError as error:
    report({"kind": type(error).__name__, "text": str(error), "identity": error.identity})
"""


LOG = """
import logging, mstoken.caller.credentials
class Log(logging.Handler):
    def emit(self, record):
        facts = {"event": record.event, "took_ms": record.took_ms}
        report({"message": record.getMessage(), **facts, "all": str(vars(record))})
logging.getLogger("mstoken").addHandler(Log())
logging.getLogger("mstoken").setLevel(logging.DEBUG)
"""

BROKEN_KEY = {"private_key": "-----BEGIN PRIVATE KEY-----\nmade-up-secret\n-----END PRIVATE KEY-----\n"}


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as google:
        yield google


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path, PREAMBLE) as machine:
        yield machine


@pytest.fixture
def refusing_host() -> Iterator[str]:
    """The address of a port that refuses connections."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield f"{HOST}:{bound.getsockname()[1]}"


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of Billing's metadata server in the metadata emulator."""
    supervisor, ports = Supervisor(), Ports.shifted(free_offset())
    port = ports.metadata_billing
    command = [sys.executable, "-m", "mstoken", "emulator", "--project", "demo-shop"]
    command += ["--port", str(ports.signed_auth), "--service", f"billing={port}"]
    log = tmp_path_factory.mktemp("metadata") / "metadata.log"
    try:
        supervisor.start("metadata", command, env=dict(os.environ), cwd=ROOT, log=log)
        supervisor.wait_until(partial(answers, f"http://{HOST}:{port}/"), "metadata", DEADLINE_SECONDS)
        yield f"{HOST}:{port}"
    finally:
        supervisor.stop()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@pytest.mark.process
class TestGoogleIdentity:
    """The identity token of the service account of this process. google-auth is not replaced."""

    def test_the_token_of_the_service_account(self, here: Machine, emulated: str) -> None:
        """The token is signed by Google for the token service, and names the account's e-mail address."""
        token = here.run("report(assertion())", emulated)
        certificate = httpx.get(f"http://{emulated}{CERTIFICATES_PATH}").json()[jwt.get_unverified_header(token)["kid"]]
        key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        claims = jwt.decode(token, key, ["RS256"], audience=URL, issuer="https://accounts.google.com")
        assert claims["email"] == "billing@demo-shop.iam.gserviceaccount.com"
        assert claims["email_verified"] is True

    def test_a_token_is_used_for_an_hour(self, here: Machine, google: Google) -> None:
        """One token is fetched for several assertions."""
        tokens = here.run("report([assertion() for _ in range(5)])", google.host)
        assert len(set(tokens)) == 1
        assert google.requests == 1

    @pytest.mark.parametrize(
        ("seconds", "fetched"), [(EARLY_SECONDS + 60, 1), (EARLY_SECONDS - 5, 3), (1, 3), (0, 3), (-60, 3)]
    )
    def test_a_token_is_fetched_again_before_its_end(
        self, here: Machine, google: Google, seconds: int, fetched: int
    ) -> None:
        """A token does not expire on its way to the token service."""
        google.seconds = seconds
        tokens = here.run("report([assertion() for _ in range(3)])", google.host)
        assert len(set(tokens)) == google.requests == fetched

    def test_tasks_share_one_request(self, here: Machine, google: Google) -> None:
        """Tasks that need a token at the same time wait for one request, and do not block their event loop."""
        google.released.clear()
        process = here.start(
            """
            async def assertions():
                tasks = [asyncio.create_task(credential.assertion("svc:billing")) for _ in range(10)]
                await asyncio.sleep(0)
                report("waiting")
                return await asyncio.gather(*tasks)

            report(asyncio.run(assertions()))
            """,
            google.host,
        )
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == "waiting"
        google.wait_for_request()
        google.released.set()
        (tokens,) = reports(process)
        assert len(tokens) == 10
        assert len(set(tokens)) == 1
        assert google.requests == 1

    def test_a_refused_token_is_not_used_again(self, here: Machine, google: Google) -> None:
        """After a refusal, another token is fetched: the process may have another service account by now."""
        tokens = here.run(
            """
            tokens = [assertion(), assertion()]
            credential.refused()
            credential.refused()
            report([*tokens, assertion(), assertion()])
            """,
            google.host,
        )
        assert tokens[0] == tokens[1] != tokens[2] == tokens[3]
        assert google.requests == 2

    def test_a_refusal_before_the_first_token_does_nothing(self, here: Machine, google: Google) -> None:
        """There is no token to forget."""
        assert here.run("credential.refused(); report(assertion())", google.host)

    def test_each_fetch_is_logged(self, here: Machine, google: Google) -> None:
        """The log says how long a fetch took, and contains no part of the token."""
        record, tokens = reports(here.start(LOG + "report([assertion() for _ in range(3)])", google.host))
        (token,) = set(tokens)
        assert record["event"] == "identity token"
        assert record["message"] == f"an identity token was fetched from the platform in {record['took_ms']} ms"
        assert record["took_ms"] > 0
        assert not [part for part in token.split(".") if part in record["all"]]

    def test_nothing_is_requested_before_the_first_assertion(self, here: Machine, google: Google) -> None:
        """Making a `GoogleIdentity` needs no network."""
        assert here.run("report('made')", google.host) == "made"
        assert google.requests == 0

    def test_a_forked_child_gets_tokens(self, here: Machine, google: Google) -> None:
        """Parent and child can both use the credential after a fork."""
        tokens = here.run(
            """
            assertion()
            child = os.fork()
            if not child:
                credential.refused()
                os._exit(not assertion())
            _, status = os.waitpid(child, 0)
            report([status, assertion()])
            """,
            google.host,
        )
        assert tokens[0] == 0
        assert google.requests == 2

    def test_a_child_forked_during_a_fetch_does_not_hang(self, here: Machine, google: Google) -> None:
        """The child does not wait for the fetch of a thread that only its parent has."""
        google.released.clear()
        process = here.start(
            """
            thread = threading.Thread(target=assertion)
            thread.start()
            sys.stdin.readline()
            child = os.fork()
            if not child:
                thread = threading.Thread(target=assertion, daemon=True)
                thread.start()
                thread.join(10)
                os._exit(thread.is_alive())
            report("forked")
            _, status = os.waitpid(child, 0)
            thread.join()
            report("the child hangs" if status else "the child has a token")
            """,
            google.host,
        )
        google.wait_for_request()
        assert process.stdin is not None
        assert process.stdout is not None
        print(file=process.stdin, flush=True)
        assert json.loads(process.stdout.readline()) == "forked"
        google.released.set()
        assert reports(process) == ["the child has a token"]


@pytest.mark.process
class TestNoGoogleIdentity:
    """Without an identity token, `SignInUnavailable` is raised: the next attempt may succeed."""

    def test_no_metadata_server_and_no_credentials(self, here: Machine, refusing_host: str) -> None:
        """The error says where the server was looked for, and what to do."""
        error = here.run(REPORT_ERROR, refusing_host)
        assert (error["kind"], error["identity"]) == ("SignInUnavailable", "svc:billing")
        assert (
            f"the platform provided no identity token (no metadata server answers at {refusing_host}" in error["text"]
        )
        assert error["text"].endswith("Run `mstoken emulator --service`, or correct GCE_METADATA_HOST)")

    @pytest.mark.parametrize(
        "content",
        [
            '{"type": "service_account", "private_key": "made-up-secret"}',
            json.dumps({"type": "service_account", "client_email": "a@b", "token_uri": URL} | BROKEN_KEY),
        ],
        ids=["incomplete", "no key"],
    )
    def test_a_wrong_credentials_file(self, here: Machine, google: Google, tmp_path: Path, content: str) -> None:
        """The error names GOOGLE_APPLICATION_CREDENTIALS, and does not repeat the contents of the file."""
        file = tmp_path / "credentials.json"
        file.write_text(content)
        error = here.run(REPORT_ERROR, google.host, GOOGLE_APPLICATION_CREDENTIALS=str(file))
        assert error["kind"] == "SignInUnavailable"
        assert "GOOGLE_APPLICATION_CREDENTIALS" in error["text"]
        assert "made-up-secret" not in error["text"]
        assert google.requests == 0

    @pytest.mark.parametrize("status", [403, 404])
    def test_a_metadata_server_that_refuses(self, here: Machine, google: Google, status: int) -> None:
        """A machine without a service account has no identity token. It is asked once."""
        google.answers["/identity"] = (status, "made-up-secret")
        error = here.run(REPORT_ERROR, google.host)
        assert (error["kind"], error["identity"]) == ("SignInUnavailable", "svc:billing")
        assert f"the metadata server answered {status}" in error["text"]
        assert "made-up-secret" not in error["text"]
        assert len(google.paths) == 1

    def test_another_server_under_the_name_of_the_metadata_server(self, here: Machine, google: Google) -> None:
        """An answer without `Metadata-Flavor: Google` is not one of Google's, whatever it says."""
        google.flavor = "vanilla"
        error = here.run(REPORT_ERROR, google.host)
        assert error["kind"] == "SignInUnavailable"
        assert "is not a metadata server" in error["text"]

    @pytest.mark.parametrize("outage", ["answers 500", "does not answer"])
    def test_an_outage_of_the_metadata_server(self, outages: Mapping[str, Any], outage: str) -> None:
        """It is asked again, until the deadline. Then the error names the identity."""
        error = outages[outage]
        assert (error["kind"], error["identity"]) == ("SignInUnavailable", "svc:billing")
        assert "the platform provided no identity token" in error["text"]

    def test_a_fetch_has_a_deadline(self, here: Machine, google: Google) -> None:
        """A token that does not come in time is an outage. The process does not wait for it, not even to end."""
        google.released.clear()
        script = f"credential = GoogleIdentity({URL!r}, deadline_seconds=1)" + REPORT_ERROR
        error = here.run(script, google.host)
        assert error["kind"] == "SignInUnavailable"
        assert error["text"].endswith("the platform provided no identity token (TimeoutError)")
        google.wait_for_request()
        google.released.set()

    def test_a_metadata_server_that_answers_500_everywhere(self, here: Machine, google: Google) -> None:
        """It is asked three times. The error says what it answered."""
        google.answers["/identity"] = (500, "no")
        error = here.run(REPORT_ERROR, google.host)
        assert (error["kind"], len(google.paths)) == ("SignInUnavailable", 3)
        assert "the metadata server answered 500" in error["text"]

    def test_after_an_outage_the_next_call_gets_a_token(self, here: Machine, google: Google) -> None:
        """A failure is not kept."""
        google.answers["/identity"] = (404, "")
        process = here.start(REPORT_ERROR + "sys.stdin.readline()\nreport(assertion())", google.host)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["kind"] == "SignInUnavailable"
        google.answers.clear()
        (token,) = reports(process)
        assert unverified(token).payload["number"] == 2

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/identity", "made-up-secret"),
            ("/identity", "made-up-secret.made-up-secret.made-up-secret"),
            ("/identity", token_of(["made-up-secret"])),
            ("/identity", token_of({"email": "made-up-secret"})),
            ("/identity", token_of({"exp": "made-up-secret"})),
            ("/identity", token_of({"exp": 10**20, "email": "made-up-secret"})),
            ("/identity", ""),
        ],
        ids=["no JWT", "no JSON", "no claims", "no exp", "text as exp", "large exp", "empty"],
    )
    def test_a_malformed_answer(self, here: Machine, google: Google, path: str, body: str) -> None:
        """An answer that is not a JWT causes the same error, whose text repeats nothing of the answer."""
        google.answers[path] = (200, body)
        error = here.run(REPORT_ERROR, google.host)
        assert error["kind"] == "SignInUnavailable"
        assert "made-up-secret" not in error["text"]
        assert not [part for part in body.split(".") if len(part) > 2 and part in error["text"]]


@pytest.fixture(scope="module")
def outages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The errors of two outages, which run at the same time because they take seconds."""
    answers: dict[str, tuple[int, str] | None] = {"answers 500": (500, "no"), "does not answer": None}

    def error_of(outage: str) -> Any:
        with Google() as google, Machine(tmp_path_factory.getbasetemp(), PREAMBLE) as here:
            google.answers["/identity"] = answers[outage]
            return here.run(REPORT_ERROR, google.host, GCE_METADATA_TIMEOUT="1")

    with ThreadPoolExecutor() as threads:
        return dict(zip(answers, threads.map(error_of, answers), strict=True))


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


class KeyFile:
    """A file for a private key."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "billing.pem"

    def write(self, key: PrivateKeyTypes, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes = b"") -> None:
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        self.path.write_bytes(key.private_bytes(Encoding.PEM, form, encryption))

    def credential(self, clock: Callable[[], float] = time.time) -> PrivateKeyCredential:
        return PrivateKeyCredential("billing", URL, self.path, clock=clock)

    def refusal(self) -> str:
        """Return the text of the error. It must name the file and what is expected, and repeat no line of the file."""
        with pytest.raises(SettingsError, match="It must name a file with an EC P-256 private key in PEM") as caught:
            self.credential()
        assert str(caught.value).startswith(f"MSTOKEN_PRIVATE_KEY_FILE is '{self.path}': ")
        text = str(caught.value)
        lines = self.path.read_text(errors="replace").split() if self.path.is_file() else []
        assert not [line for line in lines if len(line) > 8 and line in f"{text} {caught.value.__cause__}"]
        return text


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path)


class TestPrivateKeyCredential:
    """Assertions, each for one request."""

    async def test_the_claims_of_an_assertion(self, file: KeyFile) -> None:
        """An assertion has exactly the claims of RFC 7523, section 3, and is valid for a minute."""
        file.write(key := new_key())
        clock = FakeClock(float(int(time.time())) + 0.9)
        assertion = await file.credential(clock).assertion("svc:billing")
        claims = jwt.decode(assertion, key.public_key(), ["ES256"], audience=URL, issuer="billing", subject="billing")
        assert claims == {
            "iss": "billing",
            "sub": "billing",
            "aud": URL,
            "jti": claims["jti"],
            "iat": int(clock.now),
            "exp": int(clock.now) + 60,
        }

    async def test_the_header_names_the_key(self, file: KeyFile) -> None:
        """The key id is the thumbprint of the public key (RFC 7638), as another library computes it."""
        file.write(new_key())
        assertion = await file.credential().assertion("svc:billing")
        key_id = jwk.ECKey.import_key(file.path.read_bytes()).thumbprint()
        assert jwt.get_unverified_header(assertion) == {"alg": "ES256", "kid": key_id, "typ": "JWT"}

    async def test_each_assertion_has_an_id_of_its_own(self, file: KeyFile) -> None:
        """The ids are 128 random bits, because the token service accepts each one once."""
        file.write(new_key())
        credential = file.credential(FakeClock())
        assertions = await asyncio.gather(*(credential.assertion("svc:billing") for _ in range(50)))
        ids = {unverified(assertion).payload["jti"] for assertion in assertions}
        assert len(ids) == 50
        assert all(len(base64url_decode(assertion_id)) == 16 for assertion_id in ids)

    async def test_each_assertion_has_its_own_minute(self, file: KeyFile) -> None:
        """The clock is read for each assertion."""
        file.write(new_key())
        credential = file.credential(clock := FakeClock())
        ends = []
        for _ in range(3):
            ends.append(unverified(await credential.assertion("svc:billing")).payload["exp"])
            clock.advance(100)
        assert ends == [int(clock.now) - seconds + 60 for seconds in (300, 200, 100)]

    async def test_a_refusal_changes_nothing(self, file: KeyFile) -> None:
        """The next assertion is a new one in any case."""
        file.write(key := new_key())
        credential = file.credential()
        credential.refused()
        assert jwt.decode(await credential.assertion("svc:billing"), key.public_key(), ["ES256"], audience=URL)

    async def test_the_signature_is_by_the_key_in_the_file(self, file: KeyFile) -> None:
        """An assertion does not verify with another key."""
        file.write(new_key())
        assertion = await file.credential().assertion("svc:billing")
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(assertion, new_key().public_key(), ["ES256"], audience=URL)

    def test_an_invalid_service_name_raises_at_once(self, file: KeyFile) -> None:
        """A name that a service cannot have is reported when the credential is made."""
        file.write(new_key())
        with pytest.raises(ValueError, match="not a service name"):
            PrivateKeyCredential("svc:billing", URL, file.path)

    async def test_a_key_in_the_format_of_openssl(self, file: KeyFile) -> None:
        """`openssl ecparam -genkey` writes a key in this format, and it is accepted."""
        file.write(key := new_key(), PrivateFormat.TraditionalOpenSSL)
        assert jwt.decode(await file.credential().assertion("svc:billing"), key.public_key(), ["ES256"], audience=URL)


class TestWrongKeyFile:
    """A file without an EC P-256 private key is reported when the program starts, by the name of the setting."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: ec.generate_private_key(ec.SECP384R1()),
            lambda: ec.generate_private_key(ec.SECP521R1()),
            lambda: ec.generate_private_key(ec.SECP256K1()),
            lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
            lambda: rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate,
            ed448.Ed448PrivateKey.generate,
            x25519.X25519PrivateKey.generate,
        ],
        ids=["P-384", "P-521", "secp256k1", "brainpool", "RSA", "Ed25519", "Ed448", "X25519"],
    )
    def test_a_key_of_another_type(self, file: KeyFile, make: Callable[[], PrivateKeyTypes]) -> None:
        """Only EC P-256 is accepted, since assertions are signed with ES256."""
        file.write(make())
        assert "the key cannot sign with ES256" in file.refusal()

    @pytest.mark.parametrize(
        ("known", "unknown"),
        [("2a8648ce3d030107", "2a8648ce3d030104"), ("2a8648ce3d0201", "2a8648ce3d0209")],
        ids=["curve", "algorithm"],
    )
    def test_a_key_of_an_unknown_type(self, file: KeyFile, known: str, unknown: str) -> None:
        """A curve or an algorithm that the library does not know is reported, such as the curve prime239v3."""
        file.write(new_key())
        label, body = b"PRIVATE KEY", b"".join(file.path.read_bytes().splitlines()[1:-1])
        der = jwt.utils.base64url_decode(body.translate(bytes.maketrans(b"+/", b"-_")).rstrip(b"="))
        changed = base64url(der.replace(bytes.fromhex(known), bytes.fromhex(unknown)))
        assert der != base64url_decode(changed)
        text = changed.translate(str.maketrans("-_", "+/")).encode() + b"=" * (-len(changed) % 4)
        file.path.write_bytes(b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label, text, label))
        file.refusal()

    @pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
    def test_a_key_with_a_password(self, file: KeyFile, form: PrivateFormat) -> None:
        """A service cannot type a password when it starts."""
        file.write(new_key(), form, b"made-up-password")
        assert "the file does not contain a private key in PEM without a password" in file.refusal()

    def test_a_public_key(self, file: KeyFile) -> None:
        """The public key is for the policy, the private key for this file."""
        public = new_key().public_key()
        file.path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        assert "the file does not contain a private key in PEM" in file.refusal()

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"made-up-secret",
            b"\xff\xfe\x00",
            b'{"kty": "EC", "crv": "P-256", "d": "made-up-secret"}',
            b"-----BEGIN PRIVATE KEY-----\nbWFkZS11cC1zZWNyZXQ=\n-----END PRIVATE KEY-----\n",
            b"-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n",
        ],
    )
    def test_a_file_without_a_key(self, file: KeyFile, content: bytes) -> None:
        """Other contents are reported, and not repeated."""
        file.path.write_bytes(content)
        assert "the file does not contain a private key in PEM" in file.refusal()

    def test_a_key_in_der(self, file: KeyFile) -> None:
        """Only PEM is accepted."""
        file.path.write_bytes(new_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        assert "the file does not contain a private key in PEM" in file.refusal()

    def test_a_missing_file(self, file: KeyFile) -> None:
        """The error contains the message of the operating system."""
        assert "the file cannot be read (No such file or directory)" in file.refusal()

    def test_a_folder(self, file: KeyFile) -> None:
        """A path that is a folder, as when a secret is mounted wrongly, is reported."""
        file.path.mkdir()
        assert "the file cannot be read (Is a directory)" in file.refusal()
