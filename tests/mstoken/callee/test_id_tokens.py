"""ID tokens are read strictly, verified by Firebase, and checked for plausible times; most are remembered."""

import json
from collections import OrderedDict
from typing import Any

import pytest

from mstoken.callee.callers import Call
from mstoken.callee.id_tokens import MAX_KNOWN_HEADERS, MAX_REMEMBERED_TOKENS, IdToken, IdTokenVerifier
from mstoken.errors import TokenUntrusted
from mstoken.problem import problem_details
from mstoken.strict_jwt import base64url
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock
from tests.mstoken.callee.harness import USERS, CountingFirebase, Product, ProductWithProofs


@pytest.mark.parametrize("token", ["", "no JWT", "a.b.c", "x" * 9216, "a.b,c.d"])
async def test_text_that_is_not_a_jwt_is_malformed(product: Product, token: str) -> None:
    """Such text is refused before Firebase is asked."""
    assert await product.code(token) == "token_malformed"


async def test_the_token_of_another_project_is_untrusted(product: Product) -> None:
    """Its signature is not one of this project."""
    another_project = FakeFirebase(clock=product.clock)
    headers = another_project.service_headers("billing", to="product")
    assert await product.code(headers["X-MS-TOKEN"]) == "token_untrusted"


async def test_an_unsigned_token_of_the_auth_emulator(product: Product, caplog: pytest.LogCaptureFixture) -> None:
    """The log says once which command signs the emulator's tokens. The answer says only what is wrong."""
    payload = product.service_token().split(".")[1]
    header = base64url(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    for _ in range(3):
        with pytest.raises(TokenUntrusted) as caught:
            await product.call(f"{header}.{payload}.")
    assert problem_details(caught.value)["detail"] == "The token is not signed."
    assert [record.levelname for record in caplog.records if "run `mstoken emulator`" in record.message] == ["WARNING"]


async def test_an_expired_token_is_refused(product: Product) -> None:
    """The verifier checks the expiry itself, because firebase-admin does not check it with the emulator."""
    assert await product.code(product.service_token(exp=int(product.clock()) - 6)) == "token_expired"


@pytest.mark.parametrize("name", ["exp", "iat", "auth_time"])
@pytest.mark.parametrize("value", [None, "1800000000", True, 1.8e9, -1, [], {}])
async def test_a_time_that_is_not_in_whole_seconds_is_untrusted(product: Product, name: str, value: Any) -> None:
    """This holds for the tokens of services and of users."""
    assert await product.code(product.service_token(**{name: value})) == "token_untrusted"
    assert await product.code(user=f"Bearer {product.user_token(**{name: value})}") == "user_token_invalid"


async def test_a_token_from_the_future_is_untrusted(product: Product) -> None:
    """A clock skew of 5 s is accepted. A token that is older than its sign-in is not."""
    now = int(product.clock())
    assert await product.code(product.service_token(iat=now + 5, auth_time=now + 5)) == "accepted"
    assert await product.code(product.service_token(iat=now + 6, auth_time=now)) == "token_untrusted"
    assert await product.code(product.service_token(iat=now, auth_time=now + 1)) == "token_untrusted"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": None},
        {"alg": ["RS256"]},
        {"kid": None},
        {"kid": ""},
        {"kid": 7},
        {"kid": "k" * 129},
        {"typ": "at+jwt"},
        {"typ": None},
        {"crit": []},
        {"crit": ["exp"]},
    ],
)
async def test_a_header_unlike_that_of_id_tokens_is_untrusted(product: Product, header: dict[str, Any]) -> None:
    """One algorithm, one key, no extensions (RFC 8725, section 3.1; RFC 7515, section 4.1.11)."""
    token = product.firebase.issue("svc:billing", provider="custom", header=header)
    assert await product.code(token) == "token_untrusted"


async def test_the_header_of_a_verified_token_is_not_read_again(product: Product) -> None:
    """Tokens that are signed with a key have the same header. Any other header is read, and refused if it is wrong."""
    token = product.service_token()
    assert await product.code(token) == "accepted"
    tokens = product.verifier._parts.get().id_tokens
    (text,) = tokens._known_headers
    assert token.startswith(f"{text}.")
    known = tokens._known_headers[text]
    assert await product.code(product.service_token()) == "accepted"
    assert tokens._known_headers[text] is known
    for header in ({"alg": "none"}, {"kid": "other"}, {"typ": "at+jwt"}, {"crit": ["exp"]}):
        other = product.firebase.issue("svc:billing", provider="custom", header=header)
        assert await product.code(other) == "token_untrusted"
    assert list(tokens._known_headers) == [text]


async def test_the_header_of_a_token_that_is_not_verified_is_not_kept(product: Product) -> None:
    """Otherwise anyone could fill the memory, and choose what the checks of the next token see."""
    another_project = FakeFirebase(clock=product.clock)
    assert await product.code(another_project.service_headers("billing", to="product")["X-MS-TOKEN"]) != "accepted"
    assert product.verifier._parts.get().id_tokens._known_headers == {}


async def test_the_number_of_known_headers_is_limited(product: Product) -> None:
    """The keys of Firebase change every few days, so a process that runs for long does not keep all their headers."""
    tokens = product.verifier._parts.get().id_tokens
    for number in range(MAX_KNOWN_HEADERS):
        tokens._known_headers[f"header-{number}"] = {}
    assert await product.code(product.service_token()) == "accepted"
    assert len(tokens._known_headers) == 1


async def test_the_token_of_a_tenant_is_untrusted(product: Product) -> None:
    """The users of a tenant are not the users of the project."""
    tenant = {"sign_in_provider": "custom", "identities": {}, "tenant": "other"}
    assert await product.code(product.service_token(firebase=tenant)) == "token_untrusted"
    assert await product.code(user=f"Bearer {product.user_token(firebase=tenant)}") == "user_token_invalid"
    assert await product.code(product.service_token(firebase="custom")) == "token_untrusted"


async def test_a_token_that_is_valid_for_more_than_an_hour_is_untrusted(product: Product) -> None:
    """Firebase issues ID tokens for one hour."""
    now = int(product.clock())
    assert await product.code(product.service_token(exp=now + 3600)) == "accepted"
    assert await product.code(product.service_token(exp=now + 3601)) == "token_untrusted"


async def test_whitespace_around_a_token_is_ignored(product: Product) -> None:
    """Some servers leave it around the value of a header (RFC 9110, section 5.5)."""
    assert await product.code(f" \t{product.service_token()}\t ") == "accepted"


async def test_a_bound_token_is_verified_once(bound: ProductWithProofs) -> None:
    """A hundred calls with one bound token cost one verification. A fresh token is verified at each call."""
    assert [await bound.code(bound.call()) for _ in range(100)] == ["accepted"] * 100
    assert bound.firebase.verifications == 1
    fresh = bound.firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    for _ in range(2):
        await bound.code(Call("GET", "/products", [fresh], [], []))
    assert bound.firebase.verifications == 3


async def test_a_remembered_token_expires(bound: ProductWithProofs) -> None:
    """A token is not accepted for longer because it is remembered."""
    assert await bound.code(bound.call()) == "accepted"
    bound.clock.advance(3605)
    assert await bound.code(bound.call()) == "token_expired"


@pytest.mark.parametrize("act", [FakeFirebase.disable, FakeFirebase.revoke])
async def test_a_remembered_token_can_be_revoked(bound: ProductWithProofs, act: Any) -> None:
    """The status of its identity is checked at each call."""
    assert await bound.code(bound.call()) == "accepted"
    act(bound.firebase, "svc:billing")
    bound.verifier.forget("svc:billing")
    assert await bound.code(bound.call()) == "identity_disabled"


async def test_the_number_of_remembered_tokens_is_limited(bound: ProductWithProofs) -> None:
    """Beyond the limit, the token that was used longest ago is forgotten, and verified again at its next use."""

    async def call(uid: str) -> None:
        token = tokens.setdefault(uid, bound.firebase.user_headers(uid)["Authorization"])
        await bound.verifier.authorize(USERS, Call("GET", "/", [], [], [token]))

    tokens: dict[str, str] = {}
    await call("first")
    await call("second")
    await call("first")
    for number in range(MAX_REMEMBERED_TOKENS - 1):
        await call(str(number))
    before = bound.firebase.verifications
    await call("first")
    assert bound.firebase.verifications == before
    await call("second")
    assert bound.firebase.verifications == before + 1


class Contended(OrderedDict[bytes, IdToken]):
    """Remembered tokens, of which another thread removes each just after it was found."""

    def get(self, key: bytes, default: Any = None) -> Any:
        return self.pop(key, default)


async def test_another_thread_may_make_room_at_any_moment() -> None:
    """A token that is no longer remembered when it was just found is accepted."""
    clock = FakeClock()
    firebase = CountingFirebase(clock=clock)
    verifier = IdTokenVerifier(firebase, clock)
    verifier._remembered = Contended()
    token = firebase.issue("anna", provider="password")
    for _ in range(4):
        assert (await verifier.verify(token)).claims["sub"] == "anna"
    assert firebase.verifications == 2
