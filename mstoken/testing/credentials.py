"""The credentials of a request in a test, as an auth for any HTTP client or as header lines."""

import abc
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import override

from mstoken.proof import ProofKey
from mstoken.testing.fake_firebase import FakeFirebase
from mstoken.testing.fake_forge import FakeForge
from mstoken.testing.flaws import FRESH_FLAWS, USER_FLAWS, proof_flaw, token_flaw
from mstoken.testing.forge import Claims
from mstoken.testing.proof_flaws import Holder
from mstoken.wire import PROOF_HEADER, SERVICE_TOKEN_HEADER, Mode

AUTHORIZATION = "Authorization"


class TestCredentials(abc.ABC):
    """The credentials of one caller. Each request gets new ones.

    Use it as the `auth` of a client of httpx, httpx2 or requests, which FastAPI's `TestClient` is too. For other
    clients, `headers` returns the header lines of one request.
    """

    __test__ = False  # pytest looks for tests in classes of such names.

    @abc.abstractmethod
    def lines(self, method: str, path: str) -> Sequence[tuple[str, str]]:
        """Return the names and values of the header lines of one request. A name may come twice."""
        ...

    def headers(self, method: str = "GET", path: str = "/") -> dict[str, str]:
        """Return the header lines of one request. `path` is the path of the URL, as it is sent; proofs are made for it.

        Raises ValueError if a name comes twice: send those lines with `auth`.
        """
        lines = self.lines(method, path)
        if len({name for name, _ in lines}) < len(lines):
            raise ValueError("These header lines have a name twice, which a dict cannot have. Use auth= of the client.")
        return dict(lines)

    def __call__(self, request: Any) -> Any:
        """Put the header lines on a request of httpx, httpx2 or requests, and return it."""
        lines = self.lines(request.method, urlsplit(str(request.url)).path)
        if hasattr(request.headers, "multi_items"):
            request.headers = type(request.headers)([*request.headers.multi_items(), *lines])
        else:
            request.headers.update(dict(lines))
        return request


class UserCredentials(TestCredentials):
    """A signed-in user, with `claims` in the ID token. With `flaw`, the token has that flaw."""

    def __init__(self, firebase: FakeFirebase, uid: str, claims: Claims, flaw: str | None = None) -> None:
        self._firebase = firebase
        self._uid = uid
        self._claims = claims
        self._flaw = None if flaw is None else token_flaw(flaw, USER_FLAWS)

    @override
    def lines(self, method: str, path: str) -> Sequence[tuple[str, str]]:
        token = self._firebase.issue(self._uid, provider="password", **self._claims)
        if self._flaw is not None:
            forge = FakeForge(self._firebase, self._firebase.clock)
            token = self._flaw.spoil(forge, forge.user_claims(self._uid) | self._claims)
        return [(AUTHORIZATION, f"Bearer {token}")]


class ServiceCredentials(TestCredentials):
    """The service `service`, which calls `audience` at `url`. With `flaw`, each call has that flaw.

    With `reuse`, every request gets the credentials of the first one: from the second on, the call is a replay.
    """

    def __init__(
        self,
        firebase: FakeFirebase,
        service: str,
        audience: str,
        mode: Mode,
        *,
        url: str,
        flaw: str | None = None,
        reuse: bool = False,
    ) -> None:
        self._firebase = firebase
        self._service = service
        self._audience = audience
        self._mode = mode
        self._url = url
        self._reuse = reuse
        self._used: Sequence[tuple[str, str]] | None = None
        self._key = ProofKey()
        self._token_flaw = None if flaw is None or mode == "proof" else token_flaw(flaw, FRESH_FLAWS)
        self._proof_flaw = None if flaw is None or mode == "fresh" else proof_flaw(flaw)

    @override
    def lines(self, method: str, path: str) -> Sequence[tuple[str, str]]:
        if self._used is not None:
            return self._used
        lines = self._fresh() if self._mode == "fresh" else self._bound(method, path)
        if self._reuse:
            self._used = lines
        return lines

    def _fresh(self) -> Sequence[tuple[str, str]]:
        ((name, token),) = self._firebase.service_headers(self._service, to=self._audience).items()
        if self._token_flaw is not None:
            forge = FakeForge(self._firebase, self._firebase.clock)
            token = self._token_flaw.spoil(forge, forge.service_claims(self._service, self._audience))
        return [(name, token)]

    def _bound(self, method: str, path: str) -> Sequence[tuple[str, str]]:
        token = self._firebase.bound_token(self._service, self._audience, self._key.thumbprint)
        if self._proof_flaw is not None:
            forge = FakeForge(self._firebase, self._firebase.clock)
            holder = Holder(forge, self._url, self._service, self._audience, method, path)
            lines = (line.split(": ", 1) for line in self._proof_flaw.lines(holder))
            return [(name, value) for name, value in lines]
        proof = self._key.proof(method, self._url + path, token, issued_at=self._firebase.clock(), nonce=None)
        return [(SERVICE_TOKEN_HEADER, token), (PROOF_HEADER, proof)]
