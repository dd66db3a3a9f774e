"""What a process holds of tokens ends with it, and is shared with none of its children."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent

import pytest

from mstoken.strict_jwt import unverified
from tests.mstoken.caller.fakes import DEADLINE_SECONDS, claims_of, ids_of

ROOT = Path(__file__).parents[3]
# That a process with threads forks is what is tried here.
FORKING = "ignore::DeprecationWarning"
# Development mode has asyncio tell of steps that take long, as any may on a busy machine.
PREAMBLE = "import logging; logging.getLogger('asyncio').setLevel(logging.ERROR)\n"


def run(script: str, *, filters: str = "error", **variables: str) -> subprocess.CompletedProcess[str]:
    """What an interpreter of its own makes of `script`, with every warning that there is."""
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
    """A child is a process of its own, with a key and tokens of its own."""

    def test_a_child_shares_no_token_and_no_key(self) -> None:
        """Neither those that its parent had in stock, nor the one for an hour."""
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

    def test_a_child_of_a_child_and_the_parent_go_on(self) -> None:
        """Each process signs in for itself, and closes only what is its own."""
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
        """It has no thread to end, and leaves its parent's alone."""
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


@pytest.mark.process
class TestExiting:
    """A program that does not close ends nevertheless."""

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    @pytest.mark.parametrize("ending", ["sys.exit()", "raise KeyboardInterrupt"])
    def test_an_interpreter_exits_without_closing(self, mode: str, ending: str) -> None:
        """It neither hangs nor prints anything of ours."""
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

    def test_an_interpreter_exits_while_somebody_waits(self) -> None:
        """A sign-in that is under way holds up no exit."""
        ended = run(
            """
            import contextlib, threading
            from mstoken.errors import SignInError
            from tests.mstoken.caller.fakes import Project

            def call():
                with contextlib.suppress(SignInError):
                    project.identity.token_sync("product")

            project = Project()
            project.door.shut()
            threading.Thread(target=call, daemon=True).start()
            project.door.wait_for_asked(1)
            """
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    def test_an_interpreter_exits_with_open_connections(self, toolkit_host: str, mode: str) -> None:
        """What is kept alive to Firebase goes in silence."""
        ended = run(
            f"""
            from mstoken import ServiceIdentity, Settings

            identity = ServiceIdentity("billing", Settings(project_id="demo-exiting"))
            print(identity.token_sync("product", "{mode}"))
            """,
            FIREBASE_AUTH_EMULATOR_HOST=toolkit_host,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "id-token\n", "")


@pytest.fixture
def toolkit_host() -> Iterator[str]:
    """Where an Identity Toolkit listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Toolkit) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


class Toolkit(BaseHTTPRequestHandler):
    """Identity Toolkit, which signs in whoever comes, and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"idToken": "id-token"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - so it is called
        pass
