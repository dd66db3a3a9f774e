"""A token service of its own for a test, with a policy that the test writes, at a URL of its own."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.serving import make_server

from emulator.run.ports import HOST
from mstoken import Settings
from mstoken.callee.certificates import CertificateCache
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.emulator.keys import Key
from mstoken.functions import TokenEndpoint
from mstoken.issuer.policy import Policy
from mstoken.issuer.service import TokenService
from tests.mstoken.issuer.fakes import FakeSource


class TokenServer:
    """The token service with the policy of the last deployment. `policy` is its file. Close it with `stop`."""

    def __init__(
        self,
        folder: Path,
        auth_emulator: Settings,
        policy: str,
        *,
        metadata_host: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`metadata_host` is the host:port of the metadata emulator that publishes Google's certificates.

        Without it, the service accepts no identity tokens. `clock` returns seconds since the epoch.
        """
        self.policy = folder / "policy.toml"
        self.policy.write_text(policy)
        self.clock = clock
        self._spent = folder / "spent.db"
        self._has_certificates = metadata_host is not None
        flask = Flask("token")
        flask.add_url_rule("/token", view_func=self._answer, methods=["POST"])
        self._server = make_server(HOST, 0, flask, threaded=True)
        self.url = f"http://{HOST}:{self._server.server_port}/token"
        self.settings = auth_emulator.model_copy(
            update={
                "token_service_url": self.url,
                "metadata_host": metadata_host or f"{HOST}:{self._server.server_port}",
            }
        )
        threading.Thread(target=self._server.serve_forever, name="token service").start()
        self._endpoint = TokenEndpoint(self.policy, self._token_service)

    def deploy(self) -> None:
        """Do what `firebase deploy --only functions` does: start new processes with the present policy."""
        self._endpoint.close()
        self._endpoint = TokenEndpoint(self.policy, self._token_service)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._endpoint.close()

    def _token_service(self, policy: Policy) -> TokenService:
        # Without a metadata emulator, it must not try to fetch certificates in the background.
        certificates = None if self._has_certificates else CertificateCache(FakeSource(Key()))
        # With this clock the memory of the store began two hours ago, so assertions of before are not too old for it.
        replay = SQLiteReplayStore(self._spent, clock=lambda: time.time() - 7200)
        return TokenService(policy, self.settings, certificates=certificates, replay=replay, clock=lambda: self.clock())

    def _answer(self) -> Response:
        return self._endpoint(request)
