"""A metadata server as Google's platforms have one, and processes that see it, for the tests of credentials."""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import parse_qs

from emulator.run.ports import HOST
from mstoken.strict_jwt import base64url
from tests.mstoken.caller.fakes import DEADLINE_SECONDS

ROOT = Path(__file__).parents[2]
ACCOUNT = "billing@real-shop.iam.gserviceaccount.com"


class Google(ThreadingHTTPServer):
    """A metadata server on a free port. It counts the requests for identity tokens, and gives a new one each time.

    Tokens are valid for `seconds`. `answers` has other answers by path: status and body, or None for no answer at all.
    Requests for a token wait while `released` is not set.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), MetadataHandler)
        self.seconds = 3600
        self.flavor = "Google"
        self.answers: dict[str, tuple[int, str] | None] = {}
        self.requests = 0
        self.paths: list[str] = []
        self.queries: list[dict[str, list[str]]] = []
        self.released = threading.Event()
        self.released.set()
        self._lock = threading.Lock()
        self._request = threading.Semaphore(0)

    @property
    def host(self) -> str:
        return f"{HOST}:{self.server_port}"

    def count(self) -> int:
        with self._lock:
            self.requests += 1
            self._request.release()
            return self.requests

    def wait_for_request(self) -> None:
        assert self._request.acquire(timeout=DEADLINE_SECONDS)

    def __enter__(self) -> "Google":
        self._serving = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.shutdown()
        self._serving.join()
        self.server_close()


class MetadataHandler(BaseHTTPRequestHandler):
    """Answers as Google's metadata server does. See `mstoken.emulator.metadata`."""

    server: Google

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.paths.append(path)
        self.server.queries.append(parse_qs(self.path.partition("?")[2]))
        name = path.removeprefix("/computeMetadata/v1/instance/service-accounts/default") if path != "/" else ""
        if name == "/identity":
            self._identity()
        elif name == "/token":
            token = json.dumps({"access_token": "access-secret", "expires_in": 3600, "token_type": "Bearer"})
            self._answer(self.server.answers.get(name, (200, token)), "application/json")
        elif name == "":
            self._answer(self.server.answers.get(name, (200, "computeMetadata/")))
        else:
            account = json.dumps({"email": ACCOUNT})
            self._answer(self.server.answers.get(name, (200, account)), "application/json")

    def _identity(self) -> None:
        number = self.server.count()
        assert self.server.released.wait(2 * DEADLINE_SECONDS)
        if "/identity" in self.server.answers:
            self._answer(self.server.answers["/identity"])
        else:
            claims = {"exp": int(time.time()) + self.server.seconds, "number": number}
            self._answer((200, token_of(claims)))

    def _answer(self, answer: tuple[int, str] | None, content_type: str = "text/plain") -> None:
        if answer is None:
            self.connection.settimeout(DEADLINE_SECONDS)
            self.rfile.read(1)  # until the client gives up
            return
        status, body = answer
        self.send_response(status)
        self.send_header("Metadata-Flavor", self.server.flavor)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


def token_of(claims: object) -> str:
    """Return a JWT without a real signature: google-auth reads only the time of its end."""
    return ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "RS256"}, claims)) + ".c2lnbmVk"


def machine(host: str, folder: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a process that has a metadata server and no other credentials."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GCE_", "GOOGLE_", "GCLOUD_"))}
    ours = {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host, "CLOUDSDK_CONFIG": str(folder)}
    return env | ours | {"NO_PROXY": HOST, "no_proxy": HOST} | variables


class Machine:
    """Starts processes that have a metadata server and no other credentials."""

    def __init__(self, folder: Path, preamble: str) -> None:
        """Each script begins with `preamble`."""
        self._folder = folder
        self._preamble = preamble
        self._started: list[subprocess.Popen[str]] = []

    def start(self, script: str, host: str, **variables: str) -> "subprocess.Popen[str]":
        """Start `script` in an interpreter of its own, because google-auth reads its variables at import."""
        command = [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", self._preamble + dedent(script)]
        env = machine(host, self._folder, **variables)
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self._started.append(process)
        return process

    def run(self, script: str, host: str, **variables: str) -> Any:
        """Run `script`, and return what it reports last."""
        return reports(self.start(script, host, **variables))[-1]

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.returncode is None:
                process.kill()
                process.communicate()


def reports(process: "subprocess.Popen[str]") -> list[Any]:
    """Wait for the end of a process, and return what it has reported since the last `readline`."""
    output, errors = process.communicate(timeout=4 * DEADLINE_SECONDS)
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]
