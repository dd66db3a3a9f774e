"""The headers on their way, by `next` and `send`, then over a transport that answers from memory."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import pytest

from mstoken.caller.auth import ServiceAuth
from mstoken.errors import (
    IdentityDisabled,
    ProofInvalid,
    ProofMissing,
    ProofNonceRequired,
    ProofReplayed,
    Refusal,
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


class NumberedTokens:
    """Gives product-fresh-1, product-fresh-2 and so on, one token product-bound, and proofs with a number each."""

    def __init__(self) -> None:
        self.given = 0
        self.proven: list[tuple[str, str, str, str | None]] = []
        self.refusals: list[tuple[str, str]] = []

    def token_sync(self, audience: str, mode: Mode) -> str:
        self.given += 1
        return f"{audience}-fresh-{self.given}" if mode == "fresh" else f"{audience}-bound"

    async def token(self, audience: str, mode: Mode) -> str:
        return self.token_sync(audience, mode)

    def proof(self, method: str, url: str, token: str, nonce: str | None) -> str:
        self.proven.append((method, url, token, nonce))
        return f"proof-{len(self.proven)}"

    def refused(self, audience: str, token: str) -> None:
        self.refusals.append((audience, token))


class NoTokens(NumberedTokens):
    """Cannot sign in."""

    def token_sync(self, audience: str, mode: Mode) -> str:
        raise SignInUnavailable("svc:billing", "Firebase is away")


Flow = Callable[..., Awaitable[list[httpx.Headers]]]


async def driven_sync(auth: ServiceAuth, request: httpx.Request, *answers: httpx.Response) -> list[httpx.Headers]:
    """The headers of each request that goes out, as long as `answers` come in."""
    flow, sent = auth.sync_auth_flow(request), []
    try:
        outgoing = next(flow)
        for answer in answers:
            sent.append(outgoing.headers.copy())
            outgoing = flow.send(answer)
    except StopIteration:
        return sent
    raise AssertionError("it would be sent once more")


async def driven_async(auth: ServiceAuth, request: httpx.Request, *answers: httpx.Response) -> list[httpx.Headers]:
    """The same, for the flow of an async client."""
    flow, sent = auth.async_auth_flow(request), []
    try:
        outgoing = await anext(flow)
        for answer in answers:
            sent.append(outgoing.headers.copy())
            outgoing = await flow.asend(answer)
    except StopAsyncIteration:
        return sent
    raise AssertionError("it would be sent once more")


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
    """What the service product answers."""
    challenges = [("WWW-Authenticate", challenge) for challenge in refusal.challenges("product")]
    return httpx.Response(refusal.status, headers=[*challenges, *refusal.headers().items()])


def challenged(*challenges: str, status: int = 401) -> httpx.Response:
    return httpx.Response(status, headers=[("WWW-Authenticate", challenge) for challenge in challenges])


OK = httpx.Response(200)
STALE = 'MsToken realm="product", error="token_stale"'


class TestHeaders:
    """What each request carries."""

    async def test_each_request_carries_a_new_fresh_token(self, fresh: ServiceAuth, drive: Flow) -> None:
        """No token is used for two requests."""
        sent = [*await drive(fresh, get(), OK), *await drive(fresh, get(), OK)]
        assert [headers["X-MS-TOKEN"] for headers in sent] == ["product-fresh-1", "product-fresh-2"]

    async def test_a_fresh_token_needs_no_proof(self, fresh: ServiceAuth, drive: Flow) -> None:
        """It counts once by itself."""
        (headers,) = await drive(fresh, get(), OK)
        assert "DPoP" not in headers

    async def test_a_bound_token_comes_with_a_new_proof_each_time(self, proof: ServiceAuth, drive: Flow) -> None:
        """The token is the same, and the proof is for this one call."""
        sent = [*await drive(proof, get(), OK), *await drive(proof, get(), OK)]
        assert [headers["X-MS-TOKEN"] for headers in sent] == ["product-bound", "product-bound"]
        assert [headers["DPoP"] for headers in sent] == ["proof-1", "proof-2"]

    async def test_a_proof_is_for_method_url_and_token(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow
    ) -> None:
        """As they go out; the nonce comes later, if a callee wants one."""
        await drive(proof, httpx.Request("POST", URL, json={}), OK)
        assert tokens.proven == [("POST", URL, "product-bound", None)]

    async def test_a_header_that_is_there_already_is_replaced(self, proof: ServiceAuth, drive: Flow) -> None:
        """More than one line would be refused."""
        request = httpx.Request("GET", URL, headers={"x-ms-token": "old", "dpop": "old"})
        (headers,) = await drive(proof, request, OK)
        assert headers.get_list("X-MS-TOKEN") == ["product-bound"]
        assert headers.get_list("DPoP") == ["proof-1"]

    @pytest.mark.parametrize("mode", ["", "bound", "Fresh"])
    def test_a_mode_that_is_none_is_refused_at_once(self, tokens: NumberedTokens, mode: Mode) -> None:
        """Where the client is made, not at the first call."""
        with pytest.raises(ValueError, match="is no mode: fresh or proof is wanted"):
            ServiceAuth(tokens, "product", mode)

    def test_an_audience_that_is_none_is_refused_at_once(self, tokens: NumberedTokens) -> None:
        """So is a name that no service can have."""
        with pytest.raises(ValueError, match="not a service name"):
            ServiceAuth(tokens, "Product!", "fresh")

    async def test_without_a_token_nothing_is_sent(self, drive: Flow) -> None:
        """The failed sign-in comes out of the call."""
        with pytest.raises(SignInUnavailable):
            await drive(ServiceAuth(NoTokens(), "product", "fresh"), get(), OK)


class TestAnotherTry:
    """What the callee refused before it did anything is sent once more."""

    @pytest.mark.parametrize("refusal", [TokenStale(61, 60), TokenReplayed()], ids=lambda refusal: refusal.code)
    async def test_a_fresh_token_that_came_too_late_is_replaced_once(
        self, fresh: ServiceAuth, drive: Flow, refusal: Refusal
    ) -> None:
        """The callee did nothing yet, so the call goes out again, and only once."""
        sent = await drive(fresh, httpx.Request("POST", URL, json={}), refused(refusal), refused(refusal))
        assert [headers["X-MS-TOKEN"] for headers in sent] == ["product-fresh-1", "product-fresh-2"]

    async def test_a_bound_token_goes_out_again_with_a_new_proof(self, proof: ServiceAuth, drive: Flow) -> None:
        """The proof was spent by the first try."""
        sent = await drive(proof, get(), refused(ProofNonceRequired("nonce-1")), OK)
        assert [(headers["X-MS-TOKEN"], headers["DPoP"]) for headers in sent] == [
            ("product-bound", "proof-1"),
            ("product-bound", "proof-2"),
        ]

    async def test_a_nonce_is_put_into_this_and_later_proofs(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow
    ) -> None:
        """So a callee asks once, and again only when it wants another (RFC 9449, section 8)."""
        await drive(proof, get(), refused(ProofNonceRequired("nonce-1")), OK)
        await drive(proof, get(), OK)
        await drive(proof, get(), refused(ProofNonceRequired("nonce-2")), OK)
        nonces = [nonce for *_, nonce in tokens.proven]
        assert nonces == [None, "nonce-1", "nonce-1", "nonce-1", "nonce-2"]

    async def test_a_callee_that_is_never_content_gets_two_tries(self, proof: ServiceAuth, drive: Flow) -> None:
        """A second refusal is the answer."""
        wanted = refused(ProofNonceRequired("nonce-1"))
        assert len(await drive(proof, get(), wanted, wanted)) == 2

    async def test_a_nonce_is_of_one_callee(self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow) -> None:
        """Proofs for another service do not carry it."""
        await drive(proof, get(), refused(ProofNonceRequired("nonce-1")), OK)
        await drive(ServiceAuth(tokens, "user", "proof"), httpx.Request("GET", "http://user/"), OK)
        assert tokens.proven[-1] == ("GET", "http://user/", "user-bound", None)

    @pytest.mark.parametrize(
        "challenges",
        [
            (f'Bearer realm="product", {STALE}',),
            (f'{STALE}, Bearer realm="product"',),
            (f'MsToken realm="product", {STALE}',),
            ('Bearer realm="product"', STALE),
            (STALE, 'DPoP realm="product", algs="ES256"'),
        ],
    )
    async def test_the_reason_is_found_among_several_challenges(
        self, fresh: ServiceAuth, drive: Flow, challenges: tuple[str, ...]
    ) -> None:
        """In one header line or in several (RFC 9110, section 11.6.1)."""
        assert len(await drive(fresh, get(), challenged(*challenges), OK)) == 2


class TestNoOtherTry:
    """What the callee may have begun is not repeated by us."""

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
        ],
    )
    async def test_another_answer_is_the_answer(
        self, tokens: NumberedTokens, drive: Flow, response: httpx.Response, mode: Mode
    ) -> None:
        """Whatever it says, the call goes out once."""
        assert len(await drive(ServiceAuth(tokens, "product", mode), get(), response)) == 1

    async def test_a_body_that_streams_is_not_sent_twice(self, fresh: ServiceAuth) -> None:
        """A stream is spent by the first attempt."""

        def chunks() -> Iterator[bytes]:
            yield b"once"

        request = httpx.Request("POST", URL, content=chunks())
        assert len(await driven_sync(fresh, request, challenged(STALE))) == 1

    async def test_an_async_stream_is_not_sent_twice(self, fresh: ServiceAuth) -> None:
        """An async body is no more repeatable than a sync one."""

        async def chunks() -> AsyncIterator[bytes]:
            yield b"once"

        request = httpx.Request("POST", URL, content=chunks())
        assert len(await driven_async(fresh, request, challenged(STALE))) == 1

    async def test_a_stream_that_was_refused_leaves_its_nonce(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow
    ) -> None:
        """The call fails, and the next one has what this one lacked."""

        def chunks() -> Iterator[bytes]:
            yield b"once"

        request = httpx.Request("POST", URL, content=chunks())
        assert len(await drive(proof, request, refused(ProofNonceRequired("nonce-1")))) == 1
        await drive(proof, get(), OK)
        assert tokens.proven[-1][-1] == "nonce-1"


class TestReporting:
    """A bound token that does not count any more is reported, so that the next call has another."""

    @pytest.mark.parametrize(
        "refusal", [TokenExpired(), TokenUntrusted(), IdentityDisabled("svc:billing")], ids=lambda refusal: refusal.code
    )
    async def test_a_bound_token_that_is_worth_nothing_is_reported(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow, refusal: Refusal
    ) -> None:
        """With the audience, which alone knows."""
        await drive(proof, get(), refused(refusal))
        assert tokens.refusals == [("product", "product-bound")]

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
    async def test_nothing_else_is_held_against_a_bound_token(
        self, proof: ServiceAuth, tokens: NumberedTokens, drive: Flow, response: httpx.Response
    ) -> None:
        """Another sign-in would mend none of it."""
        await drive(proof, get(), response, *([OK] if response.status_code == 401 else []))
        assert tokens.refusals == []

    @pytest.mark.parametrize("refusal", [TokenExpired(), TokenUntrusted()], ids=lambda refusal: refusal.code)
    async def test_a_fresh_token_is_not_reported(
        self, fresh: ServiceAuth, tokens: NumberedTokens, drive: Flow, refusal: Refusal
    ) -> None:
        """The next call has another anyway."""
        await drive(fresh, get(), refused(refusal))
        assert tokens.refusals == []


class OnceStale:
    """A callee that refuses the first token as stale and echoes the second."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request.headers["X-MS-TOKEN"])
        return challenged(STALE) if len(self.seen) == 1 else httpx.Response(200, content=request.content)


class TestClients:
    """httpx drives it."""

    def test_a_sync_client_makes_the_call(self, fresh: ServiceAuth) -> None:
        """httpx.Client drives the same retry, body included."""
        callee = OnceStale()
        with httpx.Client(transport=httpx.MockTransport(callee), auth=fresh) as client:
            assert client.post(URL, content=b"bill").text == "bill"
        assert callee.seen == ["product-fresh-1", "product-fresh-2"]

    async def test_an_async_client_makes_the_call(self, fresh: ServiceAuth) -> None:
        """httpx.AsyncClient too."""
        callee = OnceStale()
        async with httpx.AsyncClient(transport=httpx.MockTransport(callee), auth=fresh) as client:
            assert (await client.post(URL, content=b"bill")).text == "bill"
        assert callee.seen == ["product-fresh-1", "product-fresh-2"]

    async def test_a_failed_sign_in_comes_out_of_the_call(self) -> None:
        """Without a token nothing is sent."""
        callee = OnceStale()
        auth = ServiceAuth(NoTokens(), "product", "proof")
        async with httpx.AsyncClient(transport=httpx.MockTransport(callee), auth=auth) as client:
            with pytest.raises(SignInUnavailable):
                await client.get(URL)
        assert callee.seen == []
