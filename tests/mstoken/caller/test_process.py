"""The tokens of a process: a forked child does not share them, and they do not keep a program from ending."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mstoken.caller.connections import Connections
from mstoken.caller.fresh import MAX_SIGN_INS
from mstoken.caller.process import ProcessTokens
from mstoken.caller.signin import SignIn
from mstoken.cli.key_files import write_private_key
from mstoken.errors import SignInUnavailable
from mstoken.settings import Settings
from mstoken.strict_jwt import unverified
from mstoken.testing import FakeFirebase
from mstoken.wire import MODES, Mode
from tests.clock import LoopClock
from tests.mstoken.caller.fakes import DEADLINE_SECONDS, FakeMinter, SignInTransport, claims_of, ids_of
from tests.silent_server import SilentServer, end_during_a_request

ROOT = Path(__file__).parents[3]
SHORTER_SECONDS = 20.0
"""How long a call waits after a failure, where the time of the loop passes at once."""
FORKING = "ignore::DeprecationWarning"
"""Python 3.12 warns if a process with threads forks, which is what these tests do."""
# In development mode, asyncio logs steps that take long, as any step may on a busy machine.
PREAMBLE = "import logging; logging.getLogger('asyncio').setLevel(logging.ERROR)\n"


def run(script: str, *, filters: str = "error", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `script` in an interpreter of its own that shows all warnings."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", filters, "-c", PREAMBLE + dedent(script)],
        cwd=ROOT,
        env=os.environ | variables,
        timeout=2 * DEADLINE_SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.process
class TestForking:
    """A forked child has a key and tokens of its own."""

    def test_a_child_shares_no_token_and_no_key(self) -> None:
        """It uses neither the fresh tokens of its parent nor the bound one."""
        ended = run(
            """
            import asyncio, json, os, sys
            from tests.mstoken.caller.fakes import Project

            project = Project(asyncio.sleep)
            project.fill_stock()
            project.identity.token_sync("product", "proof")
            child = os.fork()
            fresh = [project.identity.token_sync("product") for _ in range(5)]
            bound = project.identity.token_sync("product", "proof")
            proof = project.identity.proof("GET", "http://product/products", bound, None)
            project.identity.close()
            os.write(1, (json.dumps([fresh, bound, proof]) + "\\n").encode())
            if child:
                _, status = os.waitpid(child, 0)
                sys.exit(os.waitstatus_to_exitcode(status))
            """,
            filters=FORKING,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        (fresh, bound, proof), (other_fresh, other_bound, other_proof) = map(json.loads, ended.stdout.splitlines())
        assert len(ids_of(fresh + other_fresh)) == 10
        keys = {claims_of(token).key_thumbprint for token in (bound, other_bound)}
        assert len(keys) == 2
        assert unverified(proof).header["jwk"] != unverified(other_proof).header["jwk"]

    def test_parent_child_and_grandchild_have_different_keys(self) -> None:
        """Each process signs in for itself and closes only its own tokens. The parent keeps its key."""
        ended = run(
            """
            import asyncio, os
            from tests.mstoken.caller.fakes import Project, claims_of

            project = Project(asyncio.sleep)
            keys = []
            def token():
                keys.append(claims_of(project.identity.token_sync("product", "proof")).key_thumbprint)
                assert len(set(keys)) == len(keys)
            token()
            child = os.fork()
            if not child:
                token()
                child = os.fork()
                if not child:
                    token()
            if child:
                _, status = os.waitpid(child, 0)
                assert status == 0
                key = claims_of(project.identity.token_sync("product", "proof")).key_thumbprint
                assert key == keys[-1]
            project.identity.close()
            """,
            filters=FORKING,
        )
        assert (ended.returncode, ended.stderr) == (0, "")

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    def test_closing_in_a_child_does_not_hang(self, mode: str) -> None:
        """A child has no background thread to wait for. Its parent can still get tokens."""
        ended = run(
            f"""
            import asyncio, os
            from tests.mstoken.caller.fakes import Project

            project = Project(asyncio.sleep)
            with project.identity:
                project.identity.token_sync("product", "{mode}")
                child = os.fork()
                if not child:
                    project.identity.close()
                else:
                    _, status = os.waitpid(child, 0)
                    assert status == 0
                    project.identity.token_sync("product", "{mode}")
            """,
            filters=FORKING,
        )
        assert (ended.returncode, ended.stderr) == (0, "")

    def test_a_child_ends_without_closing_the_tokens_of_its_parent(self) -> None:
        """A child that did not use the identity has nothing to close, so it cannot wait for a lock of its parent."""
        ended = run(
            """
            import asyncio, os, signal
            from tests.mstoken.caller.fakes import Project

            project = Project(asyncio.sleep)
            with project.identity:
                project.identity.token_sync("product")
                lock = project.identity._tokens.get()._background._lock
                lock.acquire()
                child = os.fork()
                if child:
                    _, status = os.waitpid(child, 0)
                    lock.release()
                    assert status == 0
                else:
                    signal.alarm(20)
            """,
            filters=FORKING,
        )
        assert (ended.returncode, ended.stderr) == (0, "")

    def test_a_fork_while_another_thread_makes_the_first_token(self) -> None:
        """The child does not wait for a lock that the other thread held during the fork."""
        ended = run(
            """
            import asyncio, os, signal, threading
            from mstoken.caller import process
            from tests.mstoken.caller.fakes import Project

            making, may_end = threading.Event(), threading.Event()
            project, ProofKey = Project(asyncio.sleep), process.ProofKey

            def make_key_slowly():
                if threading.current_thread() is not threading.main_thread():
                    making.set()
                    may_end.wait()
                return ProofKey()

            process.ProofKey = make_key_slowly
            thread = threading.Thread(target=project.identity.token_sync, args=["product"])
            thread.start()
            making.wait()
            child = os.fork()
            if not child:
                signal.alarm(20)
                assert project.identity.token_sync("product")
                project.identity.close()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert status == 0
            may_end.set()
            thread.join()
            """,
            filters=FORKING,
        )
        assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.process
class TestExiting:
    """A program that does not close its identity ends nevertheless."""

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    @pytest.mark.parametrize("ending", ["sys.exit()", "raise KeyboardInterrupt"])
    def test_a_program_ends_without_closing(self, mode: str, ending: str) -> None:
        """It does not hang, and there are no warnings."""
        ended = run(
            f"""
            import asyncio, sys
            from tests.mstoken.caller.fakes import Project

            sys.excepthook = lambda *_: None
            project = Project(asyncio.sleep)
            for _ in range(3):
                project.identity.token_sync("product", "{mode}")
            {ending}
            """
        )
        assert (ended.stdout, ended.stderr) == ("", "")

    def test_a_program_ends_during_a_sign_in(self) -> None:
        """It does not wait for the end of a sign-in."""
        ended = run(
            """
            import contextlib, threading
            from mstoken.errors import SignInError
            from tests.mstoken.caller.fakes import Project

            def call():
                with contextlib.suppress(SignInError):
                    project.identity.token_sync("product")

            project = Project()
            project.transport.hold()
            threading.Thread(target=call, daemon=True).start()
            project.transport.wait_for_requests(1)
            """
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    def test_a_program_ends_with_open_connections(self, toolkit_host: str, mode: str) -> None:
        """The connections to Firebase are closed, so there is no warning about them."""
        ended = run(
            f"""
            from mstoken import ServiceIdentity, Settings

            identity = ServiceIdentity("billing", Settings(project_id="demo-exiting"))
            print(identity.token_sync("product", "{mode}"))
            """,
            FIREBASE_AUTH_EMULATOR_HOST=toolkit_host,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "id-token\n", "")


@dataclass(frozen=True)
class Silence:
    """A part that does not answer. `variables` returns those of a process that calls it at a host:port."""

    name: str
    variables: Callable[[str, Path], dict[str, str]]


def _key_file(folder: Path) -> str:
    write_private_key(folder / "billing.pem", ec.generate_private_key(ec.SECP256R1()))
    return str(folder / "billing.pem")


EMULATED = {"GOOGLE_CLOUD_PROJECT": "demo-silence", "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9"}
SILENCES = [
    Silence("Firebase", lambda host, _: EMULATED | {"FIREBASE_AUTH_EMULATOR_HOST": host}),
    Silence(
        "the token service",
        lambda host, folder: (
            EMULATED
            | {"MSTOKEN_TOKEN_SERVICE_URL": f"http://{host}/token", "MSTOKEN_PRIVATE_KEY_FILE": _key_file(folder)}
        ),
    ),
    Silence(
        "the metadata server",
        lambda host, _: (
            EMULATED
            | {"MSTOKEN_TOKEN_SERVICE_URL": f"http://{host}/token", "GCE_METADATA_HOST": host, "GCE_METADATA_IP": host}
        ),
    ),
    Silence(
        "the metadata server, for the account that signs through IAM",
        lambda host, _: {
            "GOOGLE_CLOUD_PROJECT": "real-silence",
            "MSTOKEN_API_KEY": "made-up",
            "GCE_METADATA_HOST": host,
            "GCE_METADATA_IP": host,
        },
    ),
]


@pytest.mark.process
class TestOutages:
    """A part of the way to a token accepts requests and never answers. Closing and ending do not wait for it."""

    @pytest.mark.parametrize("silence", SILENCES, ids=lambda silence: silence.name)
    @pytest.mark.parametrize("closing", ["identity.close()", "asyncio.run(identity.aclose())", "pass"])
    def test_an_outage_does_not_hold_up_the_end(self, silence: Silence, closing: str, tmp_path: Path) -> None:
        """`close` and `aclose` end a call that waits for a token, and so does the end of a program that calls neither.

        Nothing in the program has a time limit, so an end that waits for an answer never comes.
        """
        script = f"""
            import asyncio, sys, threading
            from mstoken import ServiceIdentity
            from mstoken.errors import SignInUnavailable

            def call():
                try:
                    identity.token_sync("product", "proof")
                except SignInUnavailable as error:
                    print(error.reason)

            identity = ServiceIdentity("billing")
            threading.Thread(target=call).start()
            sys.stdin.readline()
            {closing}
        """
        with SilentServer() as server:
            ended = end_during_a_request(server, script, silence.variables(f"127.0.0.1:{server.port}", tmp_path))
        reason = "the identity was closed while the call waited for a token"
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, reason + "\n", "")


@pytest.fixture
def toolkit_host() -> Iterator[str]:
    """The address of a running Identity Toolkit."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Toolkit) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


class Toolkit(BaseHTTPRequestHandler):
    """An Identity Toolkit that accepts every sign-in and keeps connections open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"idToken": "id-token"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


class TestSilence:
    """Firebase accepts sign-ins and never answers them. Calls wait for a limited time, and not for each other."""

    @pytest.fixture
    def firebase(self) -> FakeFirebase:
        return FakeFirebase()

    @pytest.fixture
    def network(self, firebase: FakeFirebase) -> SignInTransport:
        return SignInTransport(firebase)

    @pytest.fixture
    def tokens(self, firebase: FakeFirebase, network: SignInTransport) -> Iterator[ProcessTokens]:
        tokens = ProcessTokens(
            "billing",
            FakeMinter(firebase),
            SignIn(Settings(project_id="demo-shop", emulator_host="127.0.0.1:9")),
            connections=Connections(transport=network),
            clock=time.time,
            sleep=asyncio.sleep,
            sign_in_seconds=DEADLINE_SECONDS,
            wait_after_failure_seconds=SHORTER_SECONDS,
        )
        yield tokens
        tokens.close()

    @pytest.fixture
    def clock(self, tokens: ProcessTokens) -> LoopClock:
        """The clock of the loop that signs in."""
        return LoopClock(tokens._background._loop)

    @pytest.mark.parametrize("mode", MODES)
    def test_a_call_waits_for_a_limited_time(
        self, tokens: ProcessTokens, network: SignInTransport, clock: LoopClock, mode: Mode
    ) -> None:
        """Its error says so. The next call signs in as soon as Firebase answers again."""
        network.hold()
        waiting = tokens.sign_in("product", mode)
        clock.advance_from_outside(DEADLINE_SECONDS)
        with pytest.raises(SignInUnavailable, match=rf"there was no answer within {DEADLINE_SECONDS:g} s"):
            waiting.result(DEADLINE_SECONDS)
        network.release()
        assert tokens.sign_in("product", mode).result(DEADLINE_SECONDS)

    @pytest.mark.parametrize("mode", MODES)
    def test_after_a_failure_calls_wait_for_a_shorter_time(
        self, tokens: ProcessTokens, network: SignInTransport, clock: LoopClock, mode: Mode
    ) -> None:
        """An outage does not fill a service with calls that wait. A success ends this."""
        network.error = httpx.ReadTimeout("no answer")
        with pytest.raises(SignInUnavailable):
            tokens.sign_in("product", mode).result(DEADLINE_SECONDS)
        network.error = None
        network.hold()
        for _ in range(3):
            waiting = tokens.sign_in("product", mode)
            clock.advance_from_outside(SHORTER_SECONDS)
            with pytest.raises(SignInUnavailable, match=rf"there was no answer within {SHORTER_SECONDS:g} s"):
                waiting.result(DEADLINE_SECONDS)
        network.release()
        assert tokens.sign_in("product", mode).result(DEADLINE_SECONDS)
        network.hold()
        waiting = tokens.sign_in("user", mode)
        clock.advance_from_outside(SHORTER_SECONDS)
        network.release()
        assert waiting.result(DEADLINE_SECONDS)

    def test_a_sign_in_that_hangs_does_not_block_the_others(
        self, tokens: ProcessTokens, network: SignInTransport
    ) -> None:
        """Other calls sign in meanwhile, and a call with a token in stock takes it at once."""
        stock = tokens._fresh_tokens("product")
        network.hold()
        hanging = [tokens.sign_in("product", "fresh") for _ in range(MAX_SIGN_INS)]
        network.wait_for_requests(MAX_SIGN_INS)
        stock.put("in stock", signed_in_at=time.time(), took_seconds=0.1)
        assert tokens.take("product", "fresh") == "in stock"
        network.answer_new_ones()
        assert tokens.sign_in("product", "fresh").result(DEADLINE_SECONDS)
        assert tokens.sign_in("product", "proof").result(DEADLINE_SECONDS)
        assert not any(call.done() for call in hanging)
