"""`ServiceAuth`: the headers of each request, and when a call is sent again.

Most tests drive the generators of httpx.Auth with `next` and `send`, without a client and a network.
"""

import io
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from textwrap import dedent
from typing import Any

import httpx
import httpx2
import pytest
from typing_extensions import override

from mstoken.caller.auth import (
    HttpxCallNotRepeatable,
    HttpxSignInRefused,
    HttpxSignInUnavailable,
    ServiceAuth,
    is_repeatable,
)
from mstoken.caller.calls import TokenSource
from mstoken.errors import (
    CallNotRepeatable,
    IdentityDisabled,
    MsTokenError,
    ProofInvalid,
    ProofMissing,
    ProofNonceRequired,
    ProofReplayed,
    Refusal,
    SignInError,
    SignInRefused,
    SignInUnavailable,
    TokenExpired,
    TokenMalformed,
    TokenMissing,
    TokenNotService,
    TokenReplayed,
    TokenStale,
    TokenUntrusted,
    TokenWrongAudience,
    UserTokenInvalid,
    VerifierUnavailable,
)
from mstoken.wire import Mode

URL = "http://product/products?ids=a%2Cb#top"


class NumberedTokens(TokenSource):
    """Returns product-fresh-1, product-fresh-2 and so on, the bound token product-bound, and numbered proofs."""

    def __init__(self) -> None:
        self.fresh_tokens = 0
        self.new: list[bool] = []
        self.proofs: list[tuple[str, str, str, str | None]] = []
        self.refusals: list[tuple[str, Mode, str, bool]] = []
        self.has_newer = False

    @override
    def token_sync(self, audience: str, mode: Mode, *, new: bool = False) -> str:
        self.fresh_tokens += 1
        self.new.append(new)
        return f"{audience}-fresh-{self.fresh_tokens}" if mode == "fresh" else f"{audience}-bound"

    @override
    async def token(self, audience: str, mode: Mode, *, new: bool = False) -> str:
        return self.token_sync(audience, mode, new=new)

    @override
    def proof(self, method: str, url: str, token: str, nonce: str | None) -> str:
        self.proofs.append((method, url, token, nonce))
        return f"proof-{len(self.proofs)}"

    @override
    def refused(self, audience: str, mode: Mode, token: str, *, is_revoked: bool) -> bool:
        self.refusals.append((audience, mode, token, is_revoked))
        return self.has_newer


class NoTokens(NumberedTokens):
    """A token source that cannot sign in."""

    def __init__(self, error: SignInError) -> None:
        super().__init__()
        self._error = error

    @override
    def token_sync(self, audience: str, mode: Mode, *, new: bool = False) -> str:
        raise self._error


Flow = Callable[..., Awaitable[list[httpx.Headers]]]


async def driven_sync(auth: ServiceAuth, request: httpx.Request, *answers: httpx.Response) -> list[httpx.Headers]:
    """Give these answers to the sync flow, and return the headers of the requests that it sends."""
    flow, sent = auth.sync_auth_flow(request), []
    try:
        outgoing = next(flow)
        for answer in answers:
            sent.append(outgoing.headers.copy())
            outgoing = flow.send(answer)
    except StopIteration:
        return sent
    raise AssertionError("the flow sends another request")


async def driven_async(auth: ServiceAuth, request: httpx.Request, *answers: httpx.Response) -> list[httpx.Headers]:
    """Do what `driven_sync` does with the async flow."""
    flow, sent = auth.async_auth_flow(request), []
    try:
        outgoing = await anext(flow)
        for answer in answers:
            sent.append(outgoing.headers.copy())
            outgoing = await flow.asend(answer)
    except StopAsyncIteration:
        return sent
    raise AssertionError("the flow sends another request")


@pytest.fixture(params=[driven_sync, driven_async])
def drive(request: pytest.FixtureRequest) -> Flow:
    flow: Flow = request.param
    return flow


@pytest.fixture
def tokens() -> NumberedTokens:
    return NumberedTokens()


@pytest.fixture
def fresh(tokens: NumberedTokens) -> ServiceAuth:
    return ServiceAuth(tokens, "product", "fresh")


@pytest.fixture
def proof(tokens: NumberedTokens) -> ServiceAuth:
    return ServiceAuth(tokens, "product", "proof")


def get() -> httpx.Request:
    return httpx.Request("GET", URL)


def refused(refusal: Refusal) -> httpx.Response:
    """Return the answer of the service product."""
    challenges = [("WWW-Authenticate", challenge) for challenge in refusal.challenges("product")]
    return httpx.Response(refusal.status, headers=[*challenges, *refusal.headers().items()])


def challenged(*challenges: str, status: int = 401) -> httpx.Response:
    return httpx.Response(status, headers=[("WWW-Authenticate", challenge) for challenge in challenges])


OK = httpx.Response(200)
STALE = 'MsToken realm="product", error="token_stale"'


class TestHeaders:
    """The headers of a request."""

    async def test_each_request_carries_a_new_fresh_token(self, fresh: ServiceAuth, drive: Flow) -> None:
        """In the mode `fresh`, no two requests have the same token."""
        sent = [*await drive(fresh, get(), OK), *await drive(fresh, get(), OK)]
        assert [headers["X-MS-TOKEN"] for headers in sent] == ["product-fresh-1", "product-fresh-2"]

    async def test_a_fresh_token_has_no_proof(self, fresh: ServiceAuth, drive: Flow) -> None:
        """In the mode `fresh`, a request has no header `DPoP`."""
        (headers,) = await drive(fresh, get(), OK)
        assert "DPoP" not in headers

    async def test_each_request_carries_a_new_proof(self, proof: ServiceAuth, drive: Flow) -> None:
        """In the mode `proof`, requests have the same token, and each has a proof of its own."""
        sent = [*await drive(proof, get(), OK), *await drive(proof, get(), OK)]
        assert [headers["X-MS-TOKEN"] for headers in sent] == ["product-bound", "product-bound"]
        assert [headers["DPoP"] for headers in sent] == ["proof-1", "proof-2"]

    async def test_a_proof_is_for_method_url_and_token(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow
    ) -> None:
        """The proof is made for the request as it is sent. Before a callee has given a nonce, there is none in it."""
        await drive(proof, httpx.Request("POST", URL, json={}), OK)
        assert tokens.proofs == [("POST", URL, "product-bound", None)]

    async def test_headers_of_the_request_are_replaced(self, proof: ServiceAuth, drive: Flow) -> None:
        """A request has one line of each header, since a callee refuses more."""
        request = httpx.Request("GET", URL, headers={"x-ms-token": "old", "dpop": "old"})
        (headers,) = await drive(proof, request, OK)
        assert headers.get_list("X-MS-TOKEN") == ["product-bound"]
        assert headers.get_list("DPoP") == ["proof-1"]

    @pytest.mark.parametrize("mode", ["", "bound", "Fresh"])
    def test_an_unknown_mode_raises_at_once(self, tokens: NumberedTokens, mode: Mode) -> None:
        """The error comes when the client is made, not at the first call."""
        with pytest.raises(ValueError, match="is not a mode: expected fresh or proof"):
            ServiceAuth(tokens, "product", mode)

    def test_an_invalid_audience_raises_at_once(self, tokens: NumberedTokens) -> None:
        """A name that a service cannot have is reported when the client is made."""
        with pytest.raises(ValueError, match="not a service name"):
            ServiceAuth(tokens, "Product!", "fresh")

    async def test_without_a_token_nothing_is_sent(self, drive: Flow) -> None:
        """If signing in fails, the call raises the error."""
        error = SignInUnavailable("svc:billing", "Firebase is away")
        with pytest.raises(SignInUnavailable):
            await drive(ServiceAuth(NoTokens(error), "product", "fresh"), get(), OK)


class TestRetry:
    """A call that the callee refused before it did anything is sent once more."""

    @pytest.mark.parametrize("refusal", [TokenStale(61, 60), TokenReplayed()], ids=lambda refusal: refusal.code)
    async def test_a_stale_or_spent_token_is_replaced_once(
        self, fresh: ServiceAuth, tokens: NumberedTokens, drive: Flow, refusal: Refusal
    ) -> None:
        """The call is sent again with a token that is signed in for now. A second refusal is the answer."""
        sent = await drive(fresh, httpx.Request("POST", URL, json={}), refused(refusal), refused(refusal))
        assert [headers["X-MS-TOKEN"] for headers in sent] == ["product-fresh-1", "product-fresh-2"]
        assert tokens.new == [False, True]

    async def test_a_bound_token_is_sent_again_with_a_new_proof(self, proof: ServiceAuth, drive: Flow) -> None:
        """The token stays the same, and the second request has a proof of its own."""
        sent = await drive(proof, get(), refused(ProofNonceRequired("nonce-1")), OK)
        assert [(headers["X-MS-TOKEN"], headers["DPoP"]) for headers in sent] == [
            ("product-bound", "proof-1"),
            ("product-bound", "proof-2"),
        ]

    async def test_a_nonce_is_used_in_this_and_later_proofs(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow
    ) -> None:
        """A callee has to refuse a call only once for each new nonce (RFC 9449, section 8)."""
        await drive(proof, get(), refused(ProofNonceRequired("nonce-1")), OK)
        await drive(proof, get(), OK)
        await drive(proof, get(), refused(ProofNonceRequired("nonce-2")), OK)
        nonces = [nonce for *_, nonce in tokens.proofs]
        assert nonces == [None, "nonce-1", "nonce-1", "nonce-1", "nonce-2"]

    async def test_a_second_request_for_a_nonce_is_the_answer(self, proof: ServiceAuth, drive: Flow) -> None:
        """A call is sent at most twice, also to a callee that requires a nonce each time."""
        refusal = refused(ProofNonceRequired("nonce-1"))
        assert len(await drive(proof, get(), refusal, refusal)) == 2

    async def test_each_callee_has_its_own_nonce(self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow) -> None:
        """The nonce of one service is not sent to another."""
        await drive(proof, get(), refused(ProofNonceRequired("nonce-1")), OK)
        await drive(ServiceAuth(tokens, "user", "proof"), httpx.Request("GET", "http://user/"), OK)
        assert tokens.proofs[-1] == ("GET", "http://user/", "user-bound", None)

    @pytest.mark.parametrize(
        "challenges",
        [
            (f'Bearer realm="product", {STALE}',),
            (f'{STALE}, Bearer realm="product"',),
            (f'MsToken realm="product", {STALE}',),
            ('Bearer realm="product"', STALE),
            (STALE, 'DPoP realm="product", algs="ES256"'),
            ("mstoken error=token_stale",),
            ('MSTOKEN  ERROR = "token\\_stale" , realm=x',),
            ('Negotiate YWJj==, ,MsToken error="token_stale",realm="a\\"b, c"',),
            ('Digest qop="auth, auth-int", nonce="error=", MsToken algs=ES256, error=token_stale',),
        ],
    )
    async def test_the_error_is_found_among_several_challenges(
        self, fresh: ServiceAuth, drive: Flow, challenges: tuple[str, ...]
    ) -> None:
        """Challenges may be in one header line or in several, in any order (RFC 9110, section 11.6.1)."""
        assert len(await drive(fresh, get(), challenged(*challenges), OK)) == 2


class TestNoRetry:
    """All other calls are sent once: the callee may have done its work, or a new token would not help."""

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    @pytest.mark.parametrize(
        "response",
        [
            httpx.Response(200),
            httpx.Response(401),
            httpx.Response(403),
            httpx.Response(500),
            refused(TokenMissing(users_too=True)),
            refused(TokenMalformed()),
            refused(TokenUntrusted()),
            refused(TokenExpired()),
            refused(TokenWrongAudience("user", "product")),
            refused(TokenNotService()),
            refused(IdentityDisabled("svc:billing")),
            refused(ProofMissing()),
            refused(ProofInvalid()),
            refused(ProofReplayed()),
            refused(UserTokenInvalid()),
            refused(VerifierUnavailable("no certificates")),
            challenged(STALE, status=400),
            challenged(STALE, status=403),
            challenged(STALE, status=503),
            challenged('Bearer realm="x", error="token_stale"'),
            challenged('MsToken realm="x", error="token_stale_or_so"'),
            challenged('MsToken realm="x", error="use_dpop_nonce'),
            challenged('Basic realm="MsToken error=token_stale"'),
            challenged("MsToken token_stale"),
            challenged('MsToken error_description="x, error=token_stale"'),
        ],
    )
    async def test_other_answers_are_final(
        self, tokens: NumberedTokens, drive: Flow, response: httpx.Response, mode: Mode
    ) -> None:
        """After any other answer, the call is not sent again."""
        assert len(await drive(ServiceAuth(tokens, "product", mode), get(), response)) == 1

    async def test_the_nonce_for_a_stream_is_kept(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow
    ) -> None:
        """The call with the stream fails for lack of a nonce, and the next call has the nonce."""
        with pytest.raises(HttpxCallNotRepeatable):
            await drive(proof, httpx.Request("POST", URL, content=chunks()), refused(ProofNonceRequired("nonce-1")))
        await drive(proof, get(), OK)
        assert tokens.proofs[-1][-1] == "nonce-1"


class TestNonces:
    """The nonce for the next proof, which any answer may have (RFC 9449, section 8.2)."""

    @pytest.mark.parametrize("status", [200, 204, 302, 401, 403, 404, 500, 503])
    async def test_it_is_taken_from_any_answer(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow, status: int
    ) -> None:
        """A callee that hands out the next nonce in time need not refuse a call for it."""
        await drive(proof, get(), httpx.Response(status, headers={"dpop-nonce": " nonce-1 "}))
        await drive(proof, get(), OK)
        assert [nonce for *_, nonce in tokens.proofs] == [None, "nonce-1"]

    async def test_the_newest_one_counts(self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow) -> None:
        """The answer to the second request may have another one."""
        answers = refused(ProofNonceRequired("nonce-1")), httpx.Response(200, headers={"DPoP-Nonce": "nonce-2"})
        await drive(proof, get(), *answers)
        await drive(proof, get(), OK)
        assert [nonce for *_, nonce in tokens.proofs] == [None, "nonce-1", "nonce-2"]

    @pytest.mark.parametrize("values", [["a", "b"], [""], ["two words"], ['"quoted"'], ["b\\s"], ["n" * 513], ["\xe9"]])
    async def test_other_values_are_no_nonce(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow, values: list[str]
    ) -> None:
        """Two lines, and characters that a nonce cannot have, are ignored (section 8.1)."""
        headers = [(b"DPoP-Nonce", value.encode("latin-1")) for value in values]
        await drive(proof, get(), httpx.Response(200, headers=headers))
        await drive(proof, get(), OK)
        assert [nonce for *_, nonce in tokens.proofs] == [None, None]


class TestReporting:
    """A bound token that the callee no longer accepts is reported to the token source."""

    @pytest.mark.parametrize(
        "refusal", [TokenExpired(), TokenUntrusted(), IdentityDisabled("svc:billing")], ids=lambda refusal: refusal.code
    )
    async def test_a_bound_token_that_stays_refused_is_reported(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow, refusal: Refusal
    ) -> None:
        """The report names the audience and the token, so that the next call gets another token."""
        await drive(proof, get(), refused(refusal))
        is_revoked = refusal.code == "identity_disabled"
        assert tokens.refusals == [("product", "proof", "product-bound", is_revoked)]

    @pytest.mark.parametrize(
        "response",
        [
            OK,
            httpx.Response(401),
            refused(TokenStale(61, 60)),
            refused(TokenReplayed()),
            refused(TokenMalformed()),
            refused(TokenWrongAudience("user", "product")),
            refused(ProofInvalid()),
            refused(ProofNonceRequired("nonce-1")),
            refused(UserTokenInvalid()),
            refused(VerifierUnavailable("no certificates")),
            challenged('MsToken realm="product", error="token_expired"', status=403),
        ],
    )
    async def test_other_answers_are_not_reported(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow, response: httpx.Response
    ) -> None:
        """After these answers, another sign-in would not help."""
        await drive(proof, get(), response, *([OK] if response.status_code == 401 else []))
        assert tokens.refusals == []

    @pytest.mark.parametrize("refusal", [TokenExpired(), TokenUntrusted()], ids=lambda refusal: refusal.code)
    async def test_a_fresh_token_is_not_reported(
        self, fresh: ServiceAuth, tokens: NumberedTokens, drive: Flow, refusal: Refusal
    ) -> None:
        """The next call has another token in any case."""
        await drive(fresh, get(), refused(refusal))
        assert tokens.refusals == []

    async def test_a_fresh_token_of_a_revoked_identity_is_reported(
        self, fresh: ServiceAuth, tokens: NumberedTokens, drive: Flow
    ) -> None:
        """The tokens in stock were minted at about the same time, so they are worth nothing either."""
        await drive(fresh, get(), refused(IdentityDisabled("svc:billing")))
        assert tokens.refusals == [("product", "fresh", "product-fresh-1", True)]

    @pytest.mark.parametrize(
        ("mode", "refusal"),
        [
            ("fresh", IdentityDisabled("svc:billing")),
            ("proof", IdentityDisabled("svc:billing")),
            ("proof", TokenExpired()),
            ("proof", TokenUntrusted()),
        ],
        ids=lambda value: value if isinstance(value, str) else value.code,
    )
    async def test_if_there_may_be_a_better_token_the_call_is_sent_again(
        self, tokens: NumberedTokens, drive: Flow, mode: Mode, refusal: Refusal
    ) -> None:
        """The callee has done nothing, and the source of tokens has another one. A second refusal is final."""
        tokens.has_newer = True
        sent = await drive(ServiceAuth(tokens, "product", mode), get(), refused(refusal), refused(refusal))
        assert len(sent) == 2
        assert tokens.new == [False, True]


def chunks() -> Iterator[bytes]:
    yield b"once"


async def async_chunks() -> AsyncIterator[bytes]:
    yield b"once"


class Chunks:
    """An iterable that begins anew each time."""

    def __iter__(self) -> Iterator[bytes]:
        return chunks()


class AsyncChunks:
    """An async iterable that begins anew each time."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return async_chunks()


class Pipe(io.BytesIO):
    """A file that cannot be rewound."""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation


class OnceStale:
    """A callee that refuses the first request as stale, and answers the second with its body."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request.headers["X-MS-TOKEN"])
        self.bodies.append(request.content)
        return challenged(STALE) if len(self.seen) == 1 else httpx.Response(200, content=request.content)


class OnceStaleHttpx2:
    """The same for httpx2."""

    def __init__(self, callee: OnceStale) -> None:
        self._callee = callee

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        answer = self._callee(
            httpx.Request(request.method, str(request.url), headers=request.headers.raw, content=request.content)
        )
        return httpx2.Response(answer.status_code, headers=answer.headers.raw, content=answer.content)


Post = Callable[..., Awaitable[str]]


def poster(library: str, auth: ServiceAuth, callee: OnceStale) -> Post:
    """Return a function that sends a POST with a client of the library, and returns the text of the answer."""

    async def post(**body: Any) -> str:
        match library:
            case "httpx":
                with httpx.Client(transport=httpx.MockTransport(callee), auth=auth) as client:
                    return client.post(URL, **body).text  # noqa: ASYNC212 - it does not block: the transport is a function
            case "httpx async":
                async with httpx.AsyncClient(transport=httpx.MockTransport(callee), auth=auth) as async_client:
                    return (await async_client.post(URL, **body)).text
            case "httpx2":
                transport = httpx2.MockTransport(OnceStaleHttpx2(callee))
                with httpx2.Client(transport=transport, auth=auth) as client2:
                    return client2.post(URL, **body).text
            case _:
                transport = httpx2.MockTransport(OnceStaleHttpx2(callee))
                async with httpx2.AsyncClient(transport=transport, auth=auth) as async_client2:
                    return (await async_client2.post(URL, **body)).text

    return post


class UnknownStream(httpx.SyncByteStream):
    """A body that httpx has not made."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"once"


def test_a_stream_of_an_unknown_kind_is_not_sent_twice() -> None:
    """Nothing tells whether it can be read again. In doubt a body is sent once."""
    assert is_repeatable(httpx.Request("POST", URL, content=b"bill"))
    assert not is_repeatable(httpx.Request("POST", URL, stream=UnknownStream()))


@pytest.mark.parametrize("library", ["httpx", "httpx async", "httpx2", "httpx2 async"])
class TestClients:
    """The same `ServiceAuth` in the clients of httpx and of httpx2."""

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"content": b"bill"},
            {"content": "bill"},
            {"json": {"bill": 1}},
            {"data": {"bill": "1"}},
            {"files": {"bill": b"bill"}},
            {"files": {"bill": ("bill.txt", "bill", "text/plain"), "copy": ("copy.txt", b"copy")}, "data": {"a": "b"}},
            {"files": {"bill": io.BytesIO(b"bill")}},
            {"content": Chunks()},
        ],
        ids=["nothing", "bytes", "text", "json", "form", "file", "files", "open file", "iterable"],
    )
    async def test_a_body_is_sent_twice(self, fresh: ServiceAuth, library: str, body: dict[str, Any]) -> None:
        """The second request has a new token and the same body."""
        callee = OnceStale()
        if library.endswith("async") and isinstance(body.get("content"), Chunks):
            body = {"content": AsyncChunks()}
        await poster(library, fresh, callee)(**body)
        assert callee.seen == ["product-fresh-1", "product-fresh-2"]
        first, second = callee.bodies
        assert first == second
        assert bool(first) == bool(body)

    @pytest.mark.parametrize("kind", ["generator", "iterator", "file", "pipe"])
    async def test_a_stream_is_not_sent_twice(self, fresh: ServiceAuth, library: str, kind: str) -> None:
        """The error says why, and what to do. It is one of the library too."""
        callee = OnceStale()
        is_async = library.endswith("async")
        bodies: dict[str, dict[str, Any]] = {
            "generator": {"content": async_chunks() if is_async else chunks()},
            "iterator": {"content": aiter(async_chunks()) if is_async else iter([b"once"])},
            "file": {"content": async_chunks() if is_async else io.BytesIO(b"once")},
            "pipe": {"files": {"bill": Pipe(b"once")}},
        }
        base = httpx2.RequestError if library.startswith("httpx2") else httpx.RequestError
        with pytest.raises(base, match="pass the body as bytes") as caught:
            await poster(library, fresh, callee)(**bodies[kind])
        assert isinstance(caught.value, CallNotRepeatable)
        assert (caught.value.audience, caught.value.code) == ("product", "token_stale")
        assert callee.seen == ["product-fresh-1"]

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (SignInUnavailable("svc:billing", "Firebase is away", retry_after_seconds=7), HttpxSignInUnavailable),
            (SignInRefused("svc:billing", "no"), HttpxSignInRefused),
        ],
    )
    async def test_a_failed_sign_in_is_an_error_of_the_call(
        self, library: str, error: SignInError, kind: type[SignInError]
    ) -> None:
        """Code around a call that catches `HTTPError` of its library catches it. Nothing is sent."""
        callee = OnceStale()
        auth = ServiceAuth(NoTokens(error), "product", "proof")
        base = httpx2.HTTPError if library.startswith("httpx2") else httpx.HTTPError
        with pytest.raises(base) as caught:
            await poster(library, auth, callee)()
        found: Any = caught.value
        assert (type(found), found.request.url) == (kind, URL)
        assert isinstance(found, type(error))
        assert str(found) == str(error)
        assert (found.identity, found.reason) == (error.identity, error.reason)
        assert found.retry_after_seconds == error.retry_after_seconds
        assert found.__cause__ is error
        assert callee.seen == []

    async def test_only_an_outage_is_an_error_of_the_transport(self, library: str) -> None:
        """Code that tries again after a `TransportError` does so after an outage of Firebase, not after a refusal."""
        transport_error = httpx2.TransportError if library.startswith("httpx2") else httpx.TransportError
        assert issubclass(HttpxSignInUnavailable, transport_error)
        assert not issubclass(HttpxSignInRefused, transport_error)
        assert not issubclass(HttpxCallNotRepeatable, transport_error)


@pytest.mark.parametrize(
    "error",
    [
        HttpxSignInUnavailable("svc:billing", "x", retry_after_seconds=7),
        HttpxSignInRefused("svc:billing", "x"),
        HttpxCallNotRepeatable("product", "token_stale"),
    ],
)
def test_the_errors_can_be_pickled(error: MsTokenError) -> None:
    """A process pool can return them."""
    restored = pickle.loads(pickle.dumps(error))
    assert (type(restored), str(restored), restored.__dict__) == (type(error), str(error), error.__dict__)


@pytest.mark.process
def test_httpx2_is_optional() -> None:
    """Without it, `ServiceAuth` is an `httpx.Auth`, and its errors are those of httpx."""
    script = """
        import sys
        sys.modules["httpx2"] = None  # as if it were not installed
        import httpx
        from mstoken.caller import auth
        assert issubclass(auth.ServiceAuth, httpx.Auth)
        assert issubclass(auth.HttpxSignInUnavailable, httpx.TransportError)
        assert issubclass(auth.HttpxSignInRefused, httpx.RequestError)
        """
    ended = subprocess.run([sys.executable, "-c", dedent(script)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
