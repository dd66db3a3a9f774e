"""What a service proves itself with: an identity token of Google's, or a key of its own."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
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

from emulator.local.metadata import CERTIFICATES_PATH
from emulator.run.ports import HOST, Ports, free_offset
from emulator.run.processes import Supervisor
from mstoken.caller.credentials import RegisteredKey
from mstoken.errors import SettingsError
from mstoken.strict_jwt import base64url, base64url_decode, unverified
from tests.clock import FakeClock
from tests.mstoken.caller.fakes import DEADLINE_SECONDS

ROOT = Path(__file__).parents[3]
URL = "https://tokens.example/token"
SOON_SECONDS = 225
"""How long before its end google-auth takes a token for one that is over."""

PREAMBLE = f"""
import asyncio, json, os, sys, threading
from mstoken.caller.credentials import GoogleIdentity
from mstoken.errors import SignInError

credential = GoogleIdentity({URL!r})

def ask():
    return asyncio.run(credential.assertion("svc:billing"))

def tell(value):
    print(json.dumps(value), flush=True)
"""

TELL_ERROR = """
try:
    tell(ask())
except SignInError as error:
    tell({"kind": type(error).__name__, "text": str(error), "identity": error.identity})
"""


LOG = """
import logging, mstoken.caller.credentials
class Log(logging.Handler):
    def emit(self, record):
        tell({"message": record.getMessage(), "took_ms": record.took_ms, "all": str(vars(record))})
logging.getLogger("mstoken").addHandler(Log())
logging.getLogger("mstoken").setLevel(logging.DEBUG)
"""

BROKEN_KEY = {"private_key": "-----BEGIN PRIVATE KEY-----\nmade-up-secret\n-----END PRIVATE KEY-----\n"}


class Google(ThreadingHTTPServer):
    """A metadata server on a port of its own, which counts the identity tokens that it is asked for, no two the same.

    They last `seconds`. What is in `faults` by path is answered instead: status and body, or None for no answer at
    all. While it is shut those who want a token wait.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), MetadataHandler)
        self.seconds = 3600
        self.faults: dict[str, tuple[int, str] | None] = {}
        self.asked = 0
        self.opened = threading.Event()
        self.opened.set()
        self._lock = threading.Lock()
        self._asked = threading.Semaphore(0)

    @property
    def host(self) -> str:
        return f"{HOST}:{self.server_port}"

    def count(self) -> int:
        with self._lock:
            self.asked += 1
            self._asked.release()
            return self.asked

    def wait_for_asked(self) -> None:
        assert self._asked.acquire(timeout=DEADLINE_SECONDS)

    def __enter__(self) -> "Google":
        self._serving = threading.Thread(target=self.serve_forever)
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.set()
        self.shutdown()
        self._serving.join()
        self.server_close()


class MetadataHandler(BaseHTTPRequestHandler):
    """As Google's answers; see `emulator.local.metadata`."""

    server: Google

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = path.removeprefix("/computeMetadata/v1/instance/service-accounts/default") if path != "/" else ""
        if name == "/identity":
            self._identity()
        elif name == "":
            self._answer(self.server.faults.get(name, (200, "computeMetadata/")))
        else:
            account = json.dumps({"email": "billing@real-shop.iam.gserviceaccount.com"})
            self._answer(self.server.faults.get(name, (200, account)), "application/json")

    def _identity(self) -> None:
        number = self.server.count()
        assert self.server.opened.wait(2 * DEADLINE_SECONDS)
        if "/identity" in self.server.faults:
            self._answer(self.server.faults["/identity"])
        else:
            claims = {"exp": int(time.time()) + self.server.seconds, "number": number}
            self._answer((200, token_of(claims)))

    def _answer(self, answer: tuple[int, str] | None, content_type: str = "text/plain") -> None:
        if answer is None:
            self.connection.settimeout(DEADLINE_SECONDS)
            self.rfile.read(1)  # until whoever asked has had enough
            return
        status, body = answer
        self.send_response(status)
        self.send_header("Metadata-Flavor", "Google")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - so it is called
        pass


def token_of(claims: object) -> str:
    """A JWT that nobody signed: google-auth reads its end only."""
    return ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "RS256"}, claims)) + ".c2lnbmVk"


def machine(host: str, folder: Path, **variables: str) -> dict[str, str]:
    """The environment of a process that knows of nothing but a metadata server."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GCE_", "GOOGLE_", "GCLOUD_"))}
    ours = {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host, "CLOUDSDK_CONFIG": str(folder)}
    return env | ours | {"NO_PROXY": HOST, "no_proxy": HOST} | variables


class Machine:
    """Where processes run that have a metadata server, and no more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begun: list[subprocess.Popen[str]] = []

    def begin(self, script: str, host: str, **variables: str) -> "subprocess.Popen[str]":
        """Begins `script` in an interpreter of its own, since google-auth reads its variables when it is imported."""
        command = [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", PREAMBLE + dedent(script)]
        env = machine(host, self._folder, **variables)
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self._begun.append(process)
        return process

    def run(self, script: str, host: str, **variables: str) -> Any:
        """What `script` tells at its end."""
        return end(self.begin(script, host, **variables))

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._begun:
            if process.returncode is None:
                process.kill()
                process.communicate()


def end(process: "subprocess.Popen[str]") -> Any:
    """What it tells in its last line."""
    output, errors = process.communicate(timeout=4 * DEADLINE_SECONDS)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as google:
        yield google


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as machine:
        yield machine


@pytest.fixture
def refusing_host() -> Iterator[str]:
    """A port of ours where nobody listens."""
    with socket.socket() as nobody:
        nobody.bind((HOST, 0))
        yield f"{HOST}:{nobody.getsockname()[1]}"


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host of Billing's metadata server, played by `python -m emulator.local.metadata`."""
    supervisor, port = Supervisor(), Ports.shifted(free_offset()).metadata_billing
    command = [sys.executable, "-m", "emulator.local.metadata", "--service", f"billing={port}"]
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
    """The identity token of the service account that this process runs as; google-auth is as it comes."""

    def test_it_is_the_accounts_own(self, here: Machine, emulated: str) -> None:
        """Signed by Google, for the token service and for nobody else, with the account's e-mail address."""
        token = here.run("tell(ask())", emulated)
        certificate = httpx.get(f"http://{emulated}{CERTIFICATES_PATH}").json()[jwt.get_unverified_header(token)["kid"]]
        key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        claims = jwt.decode(token, key, ["RS256"], audience=URL, issuer="https://accounts.google.com")
        assert claims["email"] == "billing@demo-shop.iam.gserviceaccount.com"
        assert claims["email_verified"] is True

    def test_it_is_good_for_an_hour(self, here: Machine, google: Google) -> None:
        """One is fetched, and used again and again."""
        tokens = here.run("tell([ask() for _ in range(5)])", google.host)
        assert len(set(tokens)) == 1
        assert google.asked == 1

    @pytest.mark.parametrize(
        ("seconds", "fetched"), [(SOON_SECONDS + 60, 1), (SOON_SECONDS - 5, 3), (1, 3), (0, 3), (-60, 3)]
    )
    def test_it_is_fetched_anew_before_its_end(self, here: Machine, google: Google, seconds: int, fetched: int) -> None:
        """Shortly before, so that it does not end on its way."""
        google.seconds = seconds
        tokens = here.run("tell([ask() for _ in range(3)])", google.host)
        assert len(set(tokens)) == google.asked == fetched

    def test_those_who_ask_at_once_share_one(self, here: Machine, google: Google) -> None:
        """Tasks of the one event loop that signs in; it goes on while they wait."""
        google.opened.clear()
        process = here.begin(
            """
            async def ask_often():
                tasks = [asyncio.create_task(credential.assertion("svc:billing")) for _ in range(10)]
                await asyncio.sleep(0)
                tell("asking")
                return await asyncio.gather(*tasks)

            tell(asyncio.run(ask_often()))
            """,
            google.host,
        )
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == "asking"
        google.wait_for_asked()
        google.opened.set()
        tokens = end(process)
        assert len(tokens) == 10
        assert len(set(tokens)) == 1
        assert google.asked == 1

    def test_a_refused_one_is_not_used_again(self, here: Machine, google: Google) -> None:
        """The account may be another one by now."""
        tokens = here.run(
            """
            tokens = [ask(), ask()]
            credential.refused()
            credential.refused()
            tell([*tokens, ask(), ask()])
            """,
            google.host,
        )
        assert tokens[0] == tokens[1] != tokens[2] == tokens[3]
        assert google.asked == 2

    def test_a_refusal_before_there_is_one_is_harmless(self, here: Machine, google: Google) -> None:
        """There is nothing to forget."""
        assert here.run("credential.refused(); tell(ask())", google.host)

    def test_the_log_says_that_one_was_fetched(self, here: Machine, google: Google) -> None:
        """And how long that took, but nothing of the token."""
        process = here.begin(LOG + "tell([ask() for _ in range(3)])", google.host)
        assert process.stdout is not None
        record = json.loads(process.stdout.readline())
        (token,) = set(end(process))
        assert record["message"] == "identity token"
        assert record["took_ms"] > 0
        assert not [part for part in token.split(".") if part in record["all"]]

    def test_nothing_is_asked_before_the_first_call(self, here: Machine, google: Google) -> None:
        """A program may make one anywhere."""
        assert here.run("tell('made')", google.host) == "made"
        assert google.asked == 0

    def test_a_forked_child_has_one_too(self, here: Machine, google: Google) -> None:
        """The one that its parent fetched, or another."""
        tokens = here.run(
            """
            ask()
            child = os.fork()
            if not child:
                credential.refused()
                os._exit(not ask())
            _, status = os.waitpid(child, 0)
            tell([status, ask()])
            """,
            google.host,
        )
        assert tokens[0] == 0
        assert google.asked == 2

    def test_a_child_that_is_forked_meanwhile_does_not_hang(self, here: Machine, google: Google) -> None:
        """What its parent's threads are about, at that moment, is nothing to it."""
        google.opened.clear()
        process = here.begin(
            """
            asking = threading.Thread(target=ask)
            asking.start()
            sys.stdin.readline()
            child = os.fork()
            if not child:
                asking = threading.Thread(target=ask, daemon=True)
                asking.start()
                asking.join(10)
                os._exit(asking.is_alive())
            tell("forked")
            _, status = os.waitpid(child, 0)
            asking.join()
            tell("the child hangs" if status else "the child has a token")
            """,
            google.host,
        )
        google.wait_for_asked()
        assert process.stdin is not None
        assert process.stdout is not None
        print(file=process.stdin, flush=True)
        assert json.loads(process.stdout.readline()) == "forked"
        google.opened.set()
        assert end(process) == "the child has a token"


@pytest.mark.process
class TestNoGoogleIdentity:
    """What keeps a process from having one may be over the next time."""

    def test_no_metadata_server_and_no_credentials(self, here: Machine, refusing_host: str) -> None:
        """google-auth finds nothing, and cannot tell whether there will be something next time."""
        error = here.run(TELL_ERROR, refusing_host, GCE_METADATA_DETECT_RETRIES="1")
        assert (error["kind"], error["identity"]) == ("SignInUnavailable", "svc:billing")
        assert "its platform gave no identity token (Neither metadata server or" in error["text"]

    @pytest.mark.parametrize(
        "content",
        [
            "made-up-secret",
            '{"type": "service_account", "private_key": "made-up-secret"}',
            json.dumps({"type": "service_account", "client_email": "a@b", "token_uri": URL} | BROKEN_KEY),
            None,
        ],
        ids=["no JSON", "incomplete", "no key", "no file"],
    )
    def test_credentials_that_are_none(
        self, here: Machine, google: Google, tmp_path: Path, content: str | None
    ) -> None:
        """It is told that GOOGLE_APPLICATION_CREDENTIALS is to be mended; what the file holds is not repeated."""
        file = tmp_path / "credentials.json"
        if content is not None:
            file.write_text(content)
        error = here.run(TELL_ERROR, google.host, GOOGLE_APPLICATION_CREDENTIALS=str(file))
        assert error["kind"] == "SignInUnavailable"
        assert "GOOGLE_APPLICATION_CREDENTIALS" in error["text"]
        assert "made-up-secret" not in error["text"]
        assert google.asked == 0

    @pytest.mark.parametrize("path", ["", "/", "/identity"])
    @pytest.mark.parametrize("status", [403, 404])
    def test_a_metadata_server_that_refuses(self, here: Machine, google: Google, path: str, status: int) -> None:
        """When it is looked for, asked for the account, or asked for a token: it may know better next time."""
        google.faults[path] = (status, "no")
        error = here.run(TELL_ERROR, google.host)
        assert (error["kind"], error["identity"]) == ("SignInUnavailable", "svc:billing")

    @pytest.mark.parametrize("fault", ["answers 500", "does not answer"])
    def test_an_outage_of_the_metadata_server(self, outages: Mapping[str, Any], fault: str) -> None:
        """Another try may have one."""
        error = outages[fault]
        assert (error["kind"], error["identity"]) == ("SignInUnavailable", "svc:billing")
        assert "its platform gave no identity token" in error["text"]

    def test_a_metadata_server_that_is_down_altogether(self, here: Machine, google: Google) -> None:
        """It is not taken for one that is not there, as google-auth does with an answer of 500."""
        google.faults[""] = (500, "no")
        assert here.run(TELL_ERROR, google.host)["kind"] == "SignInUnavailable"

    def test_after_an_outage_the_next_call_has_one(self, here: Machine, google: Google) -> None:
        """A failure is not kept."""
        google.faults["/identity"] = (404, "")
        process = here.begin(TELL_ERROR + "sys.stdin.readline()\ntell(ask())", google.host)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["kind"] == "SignInUnavailable"
        google.faults.clear()
        assert unverified(end(process)).payload["number"] == 2

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/identity", "made-up-secret"),
            ("/identity", "made-up-secret.made-up-secret.made-up-secret"),
            ("/identity", token_of(["made-up-secret"])),
            ("/identity", token_of({"email": "made-up-secret"})),
            ("/identity", token_of({"exp": "made-up-secret"})),
            ("/identity", token_of({"exp": 10**20, "email": "made-up-secret"})),
            ("/", "{}"),
            ("/", "[]"),
        ],
        ids=["no JWT", "no JSON", "no claims", "no end", "an odd end", "a far end", "no account", "no object"],
    )
    def test_what_cannot_be_read_is_one_of_the_errors_that_are_promised(
        self, here: Machine, google: Google, path: str, body: str
    ) -> None:
        """And its text repeats nothing of what may have been a token."""
        google.faults[path] = (200, body)
        error = here.run(TELL_ERROR, google.host)
        assert error["kind"] == "SignInUnavailable"
        assert "made-up-secret" not in error["text"]
        assert not [part for part in body.split(".") if len(part) > 2 and part in error["text"]]


@pytest.fixture(scope="module")
def outages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """How outages end. google-auth tries five times, with seconds between them; so they happen at the same time."""
    faults: dict[str, tuple[int, str] | None] = {"answers 500": (500, "no"), "does not answer": None}

    def suffer(fault: str) -> Any:
        with Google() as google, Machine(tmp_path_factory.getbasetemp()) as here:
            google.faults["/identity"] = faults[fault]
            return here.run(TELL_ERROR, google.host, GCE_METADATA_TIMEOUT="1")

    with ThreadPoolExecutor() as threads:
        return dict(zip(faults, threads.map(suffer, faults), strict=True))


KEYS: dict[str, Callable[[], ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


THUMBPRINTS: dict[str, Callable[[bytes], str]] = {
    "ES256": lambda pem: jwk.ECKey.import_key(pem).thumbprint(),
    "EdDSA": lambda pem: jwk.OKPKey.import_key(pem).thumbprint(),
}


class KeyFile:
    """A file that may hold a private key."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "billing.pem"

    def write(self, key: PrivateKeyTypes, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes = b"") -> None:
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        self.path.write_bytes(key.private_bytes(Encoding.PEM, form, encryption))

    def credential(self, clock: Callable[[], float] = time.time) -> RegisteredKey:
        return RegisteredKey("billing", URL, self.path, clock=clock)

    def refusal(self) -> str:
        """The text of the error, which repeats no line of the file."""
        with pytest.raises(SettingsError, match="MSTOKEN_PRIVATE_KEY_FILE: a private key in PEM") as caught:
            self.credential()
        text = str(caught.value)
        lines = self.path.read_text(errors="replace").split() if self.path.is_file() else []
        assert not [line for line in lines if len(line) > 8 and line in f"{text} {caught.value.__cause__}"]
        return text


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path)


@pytest.mark.parametrize("algorithm", KEYS)
class TestRegisteredKey:
    """An assertion for one request."""

    async def test_it_says_who_is_asking_whom(self, file: KeyFile, algorithm: str) -> None:
        """The claims of RFC 7523, section 3, and none besides; for a minute from now on."""
        file.write(key := KEYS[algorithm]())
        clock = FakeClock(float(int(time.time())) + 0.9)
        assertion = await file.credential(clock).assertion("svc:billing")
        claims = jwt.decode(assertion, key.public_key(), [algorithm], audience=URL, issuer="billing", subject="billing")
        assert claims == {
            "iss": "billing",
            "sub": "billing",
            "aud": URL,
            "jti": claims["jti"],
            "iat": int(clock.now),
            "exp": int(clock.now) + 60,
        }

    async def test_its_header_names_the_key(self, file: KeyFile, algorithm: str) -> None:
        """By its thumbprint (RFC 7638), and nothing else."""
        file.write(KEYS[algorithm]())
        assertion = await file.credential().assertion("svc:billing")
        key_id = THUMBPRINTS[algorithm](file.path.read_bytes())
        assert jwt.get_unverified_header(assertion) == {"alg": algorithm, "kid": key_id, "typ": "JWT"}

    async def test_no_two_are_the_same(self, file: KeyFile, algorithm: str) -> None:
        """Each has an id of 128 random bits, since it is taken once."""
        file.write(KEYS[algorithm]())
        credential = file.credential(FakeClock())
        assertions = await asyncio.gather(*(credential.assertion("svc:billing") for _ in range(50)))
        ids = {unverified(assertion).payload["jti"] for assertion in assertions}
        assert len(ids) == 50
        assert all(len(base64url_decode(one)) == 16 for one in ids)

    async def test_each_is_of_its_own_minute(self, file: KeyFile, algorithm: str) -> None:
        """The clock is read every time."""
        file.write(KEYS[algorithm]())
        credential = file.credential(clock := FakeClock())
        ends = []
        for _ in range(3):
            ends.append(unverified(await credential.assertion("svc:billing")).payload["exp"])
            clock.advance(100)
        assert ends == [int(clock.now) - seconds + 60 for seconds in (300, 200, 100)]

    async def test_a_refusal_changes_nothing(self, file: KeyFile, algorithm: str) -> None:
        """The next assertion is another one in any case."""
        file.write(key := KEYS[algorithm]())
        credential = file.credential()
        credential.refused()
        assert jwt.decode(await credential.assertion("svc:billing"), key.public_key(), [algorithm], audience=URL)

    async def test_nobody_else_signed_it(self, file: KeyFile, algorithm: str) -> None:
        """With another key of the same kind it does not verify."""
        file.write(KEYS[algorithm]())
        assertion = await file.credential().assertion("svc:billing")
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(assertion, KEYS[algorithm]().public_key(), [algorithm], audience=URL)

    def test_it_is_a_services(self, file: KeyFile, algorithm: str) -> None:
        """A name that no service can have is refused at once."""
        file.write(KEYS[algorithm]())
        with pytest.raises(ValueError, match="not a service name"):
            RegisteredKey("svc:billing", URL, file.path)


async def test_the_thumbprint_is_that_of_the_standard(file: KeyFile) -> None:
    """The Ed25519 key of RFC 8037, appendix A.1, has the thumbprint of its appendix A.3."""
    seed = base64url_decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
    file.write(ed25519.Ed25519PrivateKey.from_private_bytes(seed))
    key_id = jwt.get_unverified_header(await file.credential().assertion("svc:billing"))["kid"]
    assert key_id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


async def test_an_ec_key_may_be_in_openssls_own_format(file: KeyFile) -> None:
    """`openssl ecparam -genkey` writes it so."""
    file.write(key := ec.generate_private_key(ec.SECP256R1()), PrivateFormat.TraditionalOpenSSL)
    assert jwt.decode(await file.credential().assertion("svc:billing"), key.public_key(), ["ES256"], audience=URL)


class TestNoRegisteredKey:
    """A file that has no such key is named by its variable when the program starts, and nothing of it is repeated."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: ec.generate_private_key(ec.SECP384R1()),
            lambda: ec.generate_private_key(ec.SECP521R1()),
            lambda: ec.generate_private_key(ec.SECP256K1()),
            lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
            lambda: rsa.generate_private_key(65537, 2048),
            ed448.Ed448PrivateKey.generate,
            x25519.X25519PrivateKey.generate,
        ],
        ids=["P-384", "P-521", "secp256k1", "brainpool", "RSA", "Ed448", "X25519"],
    )
    def test_a_key_of_another_kind(self, file: KeyFile, make: Callable[[], PrivateKeyTypes]) -> None:
        """EC P-256 or Ed25519 it must be."""
        file.write(make())
        assert "the file holds a key of another kind" in file.refusal()

    @pytest.mark.parametrize(
        ("known", "unknown"),
        [("2a8648ce3d030107", "2a8648ce3d030104"), ("2a8648ce3d0201", "2a8648ce3d0209")],
        ids=["curve", "algorithm"],
    )
    def test_a_key_of_a_kind_that_nobody_knows(self, file: KeyFile, known: str, unknown: str) -> None:
        """Such as `openssl ecparam -name prime239v3 -genkey` writes."""
        file.write(ec.generate_private_key(ec.SECP256R1()))
        label, body = b"PRIVATE KEY", b"".join(file.path.read_bytes().splitlines()[1:-1])
        der = jwt.utils.base64url_decode(body.translate(bytes.maketrans(b"+/", b"-_")).rstrip(b"="))
        changed = base64url(der.replace(bytes.fromhex(known), bytes.fromhex(unknown)))
        assert der != base64url_decode(changed)
        text = changed.translate(str.maketrans("-_", "+/")).encode() + b"=" * (-len(changed) % 4)
        file.path.write_bytes(b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label, text, label))
        file.refusal()

    @pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
    def test_a_key_with_a_password(self, file: KeyFile, form: PrivateFormat) -> None:
        """Nobody is there to type it."""
        file.write(ec.generate_private_key(ec.SECP256R1()), form, b"made-up-password")
        assert "the file holds something else" in file.refusal()

    def test_a_public_key(self, file: KeyFile) -> None:
        """It is the other half that is wanted."""
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        file.path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        assert "the file holds something else" in file.refusal()

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
    def test_something_else(self, file: KeyFile, content: bytes) -> None:
        """Whatever it is."""
        file.path.write_bytes(content)
        assert "the file holds something else" in file.refusal()

    def test_a_key_in_der(self, file: KeyFile) -> None:
        """PEM is wanted."""
        key = ed25519.Ed25519PrivateKey.generate()
        file.path.write_bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        assert "the file holds something else" in file.refusal()

    def test_no_file(self, file: KeyFile) -> None:
        """The system's own words say why."""
        assert "the file cannot be read (No such file or directory)" in file.refusal()

    def test_a_folder(self, file: KeyFile) -> None:
        """Such as a mount that is missing its file."""
        file.path.mkdir()
        assert "the file cannot be read (Is a directory)" in file.refusal()
