"""What every adapter for a framework promises. The tests of each adapter inherit `AdapterContract`."""

import abc
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import httpx
import pytest
from typing_extensions import override

from mstoken import Caller, ServiceCaller, TokenVerifier
from mstoken.callee.nonces import RENEWAL_AGE_SECONDS
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.problem import Problem
from mstoken.testing import FakeFirebase, FirebaseProject
from tests.clock import FakeClock

BASE_URL = "http://product"
BILLING: dict[str, Any] = {"services": {"billing"}}
ADMISSIONS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "users": [{"users": True}],
    "services": [BILLING],
    "both": [{"users": {"admin"}, "services": {"billing"}}],
    "worth": [BILLING | {"proof": True}],
    "acting": [BILLING | {"acting_for_user": True}],
    "stacked": [{"services": {"billing", "user"}}, BILLING],
    "order": [BILLING],
    "broken": [BILLING],
}
"""The admissions of the route at each path, from the outermost. Each route takes GET and POST."""

Lines = Sequence[tuple[str, str]]


class SoldOut(Problem):
    """An error of an application."""

    status = 409
    code = "sold_out"
    title = "The product is sold out"
    scheme = "Bearer"


class Site(abc.ABC):
    """An app of one framework with the routes of `ADMISSIONS`, and the callers that have reached them.

    The route /open has no admission, and answers "open".
    A route notes its caller, reads its body, and does what `serve` does. At /broken it raises the framework's own error
    for 404.
    """

    def __init__(self, verifier: TokenVerifier) -> None:
        self.reached: list[Caller] = []

    @property
    @abc.abstractmethod
    def protected(self) -> Any:
        """What `FirebaseProject.protect` takes."""
        ...

    @abc.abstractmethod
    def send(self, method: str, path: str, lines: Lines = (), body: "Body | None" = None) -> httpx.Response:
        """Return the answer to a request with these header lines. Errors of the app are raised."""
        ...

    def serve(self, name: str, caller: Caller) -> str:
        """Do what the route `name` does."""
        self.reached.append(caller)
        if name == "order":
            raise SoldOut("Only 2 are left.")
        return str(caller)


class Body(io.BytesIO):
    """The body of a request, which notes whether it was read."""

    def __init__(self, content: bytes = b"{}") -> None:
        super().__init__(content)
        self.was_read = False
        self.content = content

    def chunks(self) -> Iterator[bytes]:
        """Yield the body, as a client sends it."""
        yield self.read()

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        self.was_read = True
        return super().read(size)

    @override
    def readline(self, size: int | None = -1, /) -> bytes:
        self.was_read = True
        return super().readline(size)

    @override
    def readinto(self, buffer: Any, /) -> int:
        self.was_read = True
        return super().readinto(buffer)


class CountingStore(MemoryReplayStore):
    """A replay store that counts how often an id is spent."""

    spent = 0

    @override
    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        self.spent += 1
        return await super().spend(one_time_id, issued_at=issued_at, expires_at=expires_at)


def lines_of(headers: Mapping[str, str]) -> Lines:
    return list(headers.items())


class AdapterContract:
    """The promises of an adapter. A subclass names its `site`, and what its framework does by itself."""

    site_class: ClassVar[type[Site]]
    head_status: ClassVar[int] = 200
    """The answer to HEAD with a valid token: 405 in a framework where a route for GET does not answer HEAD."""
    reads_body_first: ClassVar[bool] = False
    """Whether the framework itself receives the body before it calls anything of the app."""
    options_status: ClassVar[int] = 405
    """The answer to OPTIONS without a token: 200 or 405 if the framework answers it, 401 if the route does."""

    @pytest.fixture
    def firebase(self) -> FakeFirebase:
        return FakeFirebase(base_url=BASE_URL)

    @pytest.fixture
    def store(self) -> CountingStore:
        return CountingStore()

    @pytest.fixture
    def site(self, firebase: FakeFirebase, store: CountingStore) -> Site:
        return self.site_class(firebase.verifier("product", replay=store))

    def billing(self, firebase: FakeFirebase, **services: str) -> Lines:
        return lines_of(firebase.service_headers(services.get("name", "billing"), to=services.get("to", "product")))

    def proof(self, firebase: FakeFirebase, path: str, method: str = "GET") -> Lines:
        """Return the header lines of a call from Billing in proof mode."""
        auth = firebase.service_auth("billing", to="product", mode="proof")
        request = next(auth.sync_auth_flow(httpx.Request(method, BASE_URL + path)))
        return [(name, request.headers[name]) for name in ("X-MS-TOKEN", "DPoP")]

    def test_callers_reach_the_routes_that_admit_them(self, site: Site, firebase: FakeFirebase) -> None:
        """The route gets who is calling: a user, a user with a role, or a service."""
        for path, lines, caller in (
            ("/users", lines_of(firebase.user_headers("anna")), "user:anna"),
            ("/both", lines_of(firebase.user_headers("root", role="admin")), "user:root"),
            ("/both", self.billing(firebase), "svc:billing"),
            ("/services", self.billing(firebase), "svc:billing"),
        ):
            answer = site.send("GET", path, lines)
            assert (answer.status_code, answer.text) == (200, caller)
            assert str(site.reached[-1]) == caller

    def test_a_service_acts_for_a_user(self, site: Site, firebase: FakeFirebase) -> None:
        """Both tokens are read where the route admits that. Elsewhere `Authorization` is not looked at."""
        user = lines_of(firebase.user_headers("anna"))
        site.send("GET", "/acting", [*self.billing(firebase), *user])
        site.send("GET", "/both", [*self.billing(firebase), *user])
        assert site.send("GET", "/both", [*self.billing(firebase), ("Authorization", "Basic YTpi")]).is_success
        acting, *others = site.reached
        assert isinstance(acting, ServiceCaller)
        assert acting.user is not None
        assert acting.user.uid == "anna"
        assert [caller.user for caller in others if isinstance(caller, ServiceCaller)] == [None, None]

    @pytest.mark.parametrize(
        ("path", "lines", "code", "challenge"),
        [
            ("/both", [], "token_missing", 'MsToken realm="product", Bearer realm="product"'),
            ("/services", [], "token_missing", 'MsToken realm="product"'),
            ("/users", [], "user_token_missing", 'Bearer realm="product"'),
            (
                "/both",
                [("X-MS-TOKEN", "a.b.c")],
                "token_malformed",
                'MsToken realm="product", error="token_malformed"',
            ),
            ("/both", [("X-MS-TOKEN", "")], "token_malformed", 'MsToken realm="product", error="token_malformed"'),
            (
                "/users",
                [("Authorization", "Basic YTpi")],
                "user_token_invalid",
                'Bearer realm="product", error="invalid_token", error_description="The user\'s token is not valid"',
            ),
        ],
    )
    def test_a_call_without_a_valid_token(self, site: Site, path: str, lines: Lines, code: str, challenge: str) -> None:
        """The challenges name the tokens that the route accepts (RFC 9110, section 11.6.1)."""
        answer = site.send("GET", path, lines)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert answer.headers["WWW-Authenticate"] == challenge
        assert site.reached == []

    def test_a_refusal_is_a_problem(self, site: Site, firebase: FakeFirebase) -> None:
        """The body is as in RFC 9457, and the answer is not cached. A used token is refused."""
        billing = self.billing(firebase)
        assert site.send("GET", "/services", billing).status_code == 200
        answer = site.send("GET", "/services", billing)
        assert answer.status_code == 401
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["WWW-Authenticate"] == 'MsToken realm="product", error="token_replayed"'
        assert answer.json() == {
            "type": "about:blank",
            "title": "The service token has been used before",
            "status": 401,
            "code": "token_replayed",
        }
        assert len(site.reached) == 1

    def test_a_caller_that_is_not_admitted(self, site: Site, firebase: FakeFirebase) -> None:
        """A known caller gets 403 without a challenge. A token for another service is a 401."""
        for lines in (self.billing(firebase, name="user"), lines_of(firebase.user_headers("anna"))):
            answer = site.send("GET", "/both", lines)
            assert (answer.status_code, answer.json()["code"]) == (403, "caller_not_allowed")
            assert "WWW-Authenticate" not in answer.headers
        answer = site.send("GET", "/both", self.billing(firebase, to="user"))
        assert (answer.status_code, answer.json()["code"]) == (401, "token_wrong_audience")
        assert site.reached == []

    def test_an_outage(self, site: Site, firebase: FakeFirebase) -> None:
        """It is a 503 that says when to retry, and not what is broken."""
        billing = self.billing(firebase)
        firebase.down = True
        answer = site.send("GET", "/services", billing)
        assert (answer.status_code, answer.json()["code"]) == (503, "verifier_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert "detail" not in answer.json()
        assert site.reached == []

    @pytest.mark.parametrize("separator", [",", ", "])
    def test_a_joined_header_line(self, site: Site, firebase: FakeFirebase, separator: str) -> None:
        """Two tokens in one line are refused, as a proxy may have joined two lines."""
        ((name, token),) = self.billing(firebase)
        answer = site.send("GET", "/services", [(name, token + separator + token)])
        assert (answer.status_code, answer.json()["code"]) == (401, "token_malformed")

    def test_a_repeated_header_line(self, site: Site, firebase: FakeFirebase) -> None:
        """Neither of two tokens is accepted, whatever the case of their names, nor a token with two proofs."""
        ((_name, token),) = self.billing(firebase)
        answer = site.send("GET", "/services", [("X-MS-TOKEN", token), ("x-ms-token", token)])
        assert (answer.status_code, answer.json()["code"]) == (401, "token_malformed")
        token_line, proof_line = self.proof(firebase, "/services")
        answer = site.send("GET", "/services", [token_line, proof_line, proof_line])
        assert (answer.status_code, answer.json()["code"]) == (401, "proof_invalid")

    def test_a_request_is_verified_once(
        self, site: Site, firebase: FakeFirebase, store: CountingStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its id is spent once, and the log has one record of it, however many parts of the app ask who is calling."""
        caplog.set_level("INFO", logger="mstoken.calls")
        assert site.send("GET", "/stacked", self.billing(firebase)).text == "svc:billing"
        assert store.spent == 1
        assert len([record for record in caplog.records if record.name == "mstoken.calls"]) == 1

    def test_a_refused_call_spends_nothing(self, site: Site, firebase: FakeFirebase, store: CountingStore) -> None:
        """If one of several parts does not admit the caller, the token stays valid."""
        user = self.billing(firebase, name="user")
        answer = site.send("GET", "/stacked", user)
        assert (answer.status_code, answer.json()["code"]) == (403, "caller_not_allowed")
        assert (store.spent, site.reached) == (0, [])

    def test_the_body_is_not_read_before_the_call_is_verified(self, site: Site, firebase: FakeFirebase) -> None:
        """Without a valid token a wrong body is a 401, and nothing reads it. With one, the route reads it."""
        body = Body(b"not JSON")
        answer = site.send("POST", "/services", body=body)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
        assert body.was_read == self.reads_body_first
        body = Body(b"{}")
        assert site.send("POST", "/services", self.billing(firebase), body).text == "svc:billing"
        assert body.was_read

    def test_problems_of_the_application(self, site: Site, firebase: FakeFirebase) -> None:
        """An error of the application that derives from `Problem` is answered like a refusal."""
        answer = site.send("GET", "/order", self.billing(firebase))
        assert (answer.status_code, answer.headers["Content-Type"]) == (409, "application/problem+json")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="product"'
        assert (answer.json()["code"], answer.json()["detail"]) == ("sold_out", "Only 2 are left.")

    def test_a_proof_is_for_the_method_and_the_path(self, site: Site, firebase: FakeFirebase) -> None:
        """The query does not count. A route with `proof=True` refuses fresh tokens."""
        assert site.send("GET", "/worth?q=%20", self.proof(firebase, "/worth?q=%20")).text == "svc:billing"
        for proof in (self.proof(firebase, "/services"), self.proof(firebase, "/worth", "POST")):
            answer = site.send("GET", "/worth", proof)
            assert (answer.status_code, answer.json()["code"]) == (401, "proof_invalid")
        answer = site.send("GET", "/worth", self.billing(firebase))
        assert answer.json()["code"] == "proof_missing"
        assert answer.headers["WWW-Authenticate"] == 'DPoP realm="product", algs="ES256"'

    @pytest.mark.parametrize("path", ["/services", "/broken"])
    def test_nonces(self, path: str) -> None:
        """The caller gets a nonce with a refusal, and the next one in time, with any answer (RFC 9449, section 8)."""
        clock = FakeClock()
        firebase = FakeFirebase(clock=clock, base_url=BASE_URL, nonce_secret="n" * 32)
        site = self.site_class(firebase.verifier("product"))
        auth = firebase.service_auth("billing", to="product", mode="proof")
        nonces: list[bool] = []

        def deliver(request: httpx.Request) -> httpx.Response:
            answer = site.send("GET", path, [(name, request.headers[name]) for name in ("X-MS-TOKEN", "DPoP")])
            assert answer.status_code in ((401,) if not nonces else (200, 404))
            nonces.append("DPoP-Nonce" in answer.headers)
            return answer

        with httpx.Client(transport=httpx.MockTransport(deliver), auth=auth) as client:
            for _ in range(3):
                client.get(BASE_URL + path)
                clock.advance(RENEWAL_AGE_SECONDS)
        assert nonces == [True, False, True, True]

    def test_head(self, site: Site, firebase: FakeFirebase, store: CountingStore) -> None:
        """HEAD is verified like GET, and its proof is for HEAD, if a route for GET answers it."""
        refused = site.send("HEAD", "/services")
        assert refused.status_code == (401 if self.head_status == 200 else self.head_status)
        assert store.spent == 0
        answer = site.send("HEAD", "/services", self.proof(firebase, "/services", "HEAD"))
        assert answer.status_code == self.head_status

    def test_options(self, site: Site, firebase: FakeFirebase, store: CountingStore) -> None:
        """The framework answers OPTIONS as it does without us, and a token is not spent for that."""
        assert site.send("OPTIONS", "/services").status_code == self.options_status
        if self.options_status == 401:
            return
        billing = self.billing(firebase)
        answer = site.send("OPTIONS", "/services", billing)
        assert answer.status_code == self.options_status
        assert "GET" in answer.headers["Allow"]
        assert (store.spent, site.reached) == (0, [])
        assert site.send("GET", "/services", billing).is_success

    def test_a_route_without_allow(self, site: Site, firebase: FakeFirebase, store: CountingStore) -> None:
        """Anyone may call it, whatever tokens they send. Nothing looks at those."""
        firebase.down = True
        for lines in ([], [("X-MS-TOKEN", "a.b.c")], self.billing(firebase)):
            answer = site.send("GET", "/open", lines)
            assert (answer.status_code, answer.text) == (200, "open")
        assert store.spent == 0

    def test_an_unknown_path_is_not_protected(self, site: Site) -> None:
        """The framework answers it: a refusal would say that something is there."""
        assert site.send("GET", "/nothing").status_code == 404

    def test_the_pytest_plugin(self, firebase: FakeFirebase) -> None:
        """`FirebaseProject.protect` makes the app verify calls with a project in memory, until `release`."""
        site = self.site_class(firebase.verifier("product"))
        project = FirebaseProject()
        assert project.protect(site.protected) is site.protected
        billing = project.as_service("billing")
        assert site.send("GET", "/services", billing.lines("GET", "/services")).text == "svc:billing"
        bound = project.as_service("billing", mode="proof").lines("GET", "/worth")
        assert site.send("GET", "/worth", bound).text == "svc:billing"
        flawed = project.as_service("billing", flaw="expired").lines("GET", "/services")
        assert site.send("GET", "/services", flawed).json()["code"] == "token_expired"
        project.release()
        assert site.send("GET", "/services", billing.lines("GET", "/services")).status_code == 401
        assert site.send("GET", "/services", self.billing(firebase)).text == "svc:billing"
