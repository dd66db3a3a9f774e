"""The tools of an attacker, which the tables of attacks use."""

import json

from jwt import decode, get_unverified_header
from jwt.algorithms import RSAAlgorithm

from mstoken.testing import FakeFirebase
from mstoken.testing.fake_forge import FakeForge
from mstoken.testing.forge import ABSENT
from tests.clock import FakeClock

NOW = 1_800_000_000.0


def forge() -> FakeForge:
    """Return a forge whose clock stands still."""
    clock = FakeClock(NOW)
    return FakeForge(FakeFirebase(clock=clock), clock)


def test_claims_of_valid_tokens() -> None:
    """They are those of a service that has just signed in, and of a user who has just logged in."""
    claims = forge().service_claims("billing", "product")
    assert (claims["sub"], claims["auth_time"]) == ("svc:billing", NOW)
    assert claims["ms"].items() >= {"v": 1, "svc": "billing", "aud": "product", "iat": NOW}.items()
    assert forge().user_claims("maya")["firebase"]["sign_in_provider"] == "password"


def test_the_attackers_own_signature() -> None:
    """It is a valid signature of the attacker's key, under the id of the published key."""
    made = forge()
    token = made.self_signed({"sub": "svc:billing"}, jwk=made.own_jwk())
    header = get_unverified_header(token)
    assert header["kid"] == next(iter(made.certificates()))
    key = RSAAlgorithm.from_jwk(json.dumps(header["jwk"]))
    assert decode(token, key, ["RS256"]) == {"sub": "svc:billing"}  # type: ignore[arg-type]  # it is a public key


def test_unsigned_and_hmac_signed_tokens() -> None:
    """They have the algorithm that the attack names."""
    made = forge()
    assert "alg" not in json.loads(_decoded(made.unsigned({}, ABSENT)))
    assert made.unsigned({}, "none").endswith(".")
    assert decode(made.hmac_signed({"sub": "x"}, b"s" * 32), b"s" * 32, ["HS256"]) == {"sub": "x"}


def test_texts_that_no_json_library_writes() -> None:
    """A claim can have any text, and can be left out."""
    made = forge()
    assert b'"exp": 1e400' in _decoded(made.with_text({"sub": "x"}, "exp", "1e400"), part=1)
    assert json.loads(_decoded(made.without({"sub": "x", "iat": 1}, "iat"), part=1)) == {"sub": "x"}


def _decoded(token: str, part: int = 0) -> bytes:
    from mstoken.strict_jwt import base64url_decode

    return base64url_decode(token.split(".")[part])
