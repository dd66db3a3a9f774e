"""The ms claim: what goes in comes out, and nothing else does."""

from typing import Any

import pytest

from mstoken.claims import ServiceClaims, log_name, service_name, token_sha256
from mstoken.errors import TokenNotService

FRESH = ServiceClaims.fresh("billing", "product")
THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
BOUND = ServiceClaims.bound("billing", "product", THUMBPRINT)


def id_token_claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good service token, with `changes`."""
    claims = {"sub": "svc:billing", "firebase": {"sign_in_provider": "custom"}, **FRESH.as_developer_claims()}
    return claims | changes


def ms(**changes: Any) -> dict[str, Any]:
    """A good ms claim with `changes`; None removes a member."""
    claim = FRESH.as_developer_claims()["ms"] | changes
    return {"ms": {name: value for name, value in claim.items() if value is not None}}


def test_claims_survive_the_way() -> None:
    """What the caller puts in is what the callee reads."""
    assert ServiceClaims.parse(id_token_claims()) == FRESH
    assert ServiceClaims.parse(id_token_claims(**BOUND.as_developer_claims())) == BOUND
    assert (FRESH.uid, BOUND.uid) == ("svc:billing", "svc:billing")


def test_the_mode_is_told_by_the_claim() -> None:
    """An id makes a fresh token, a key's thumbprint a bound one."""
    assert (FRESH.mode, BOUND.mode) == ("fresh", "proof")
    assert BOUND.as_developer_claims() == {"ms": {"v": 1, "svc": "billing", "aud": "product", "jkt": THUMBPRINT}}


def test_every_token_has_an_id_of_its_own() -> None:
    """The ids are 128 random bits."""
    ids = {str(ServiceClaims.fresh("billing", "product").token_id) for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(token_id) for token_id in ids} == {22}


@pytest.mark.parametrize(
    "claims",
    [
        id_token_claims(firebase={"sign_in_provider": "password"}),
        id_token_claims(firebase=None),
        id_token_claims(firebase="custom"),
        id_token_claims(ms=None),
        id_token_claims(ms=[]),
        id_token_claims(ms={}),
        id_token_claims(sub="svc:user"),
        id_token_claims(sub="billing"),
        id_token_claims(sub=None),
        id_token_claims(**ms(v=2)),
        id_token_claims(**ms(v="1")),
        id_token_claims(**ms(v=True)),
        id_token_claims(**ms(svc="user")),
        id_token_claims(**ms(svc="Billing"), sub="svc:Billing"),
        id_token_claims(**ms(svc=""), sub="svc:"),
        id_token_claims(**ms(svc=["billing"])),
        id_token_claims(**ms(aud=None)),
        id_token_claims(**ms(aud=["product"])),
        id_token_claims(**ms(jti=None)),
        id_token_claims(**ms(jti=7)),
        id_token_claims(**ms(jti="short")),
        id_token_claims(**ms(jti="x" * 23)),
        id_token_claims(**ms(jti="!" * 22)),
        id_token_claims(**ms(jkt=THUMBPRINT)),
        id_token_claims(**ms(jti=None, jkt="thumbprint")),
        id_token_claims(**ms(jti=None, jkt=THUMBPRINT + "A")),
        id_token_claims(**ms(jti=None, jkt="!" * 43)),
        id_token_claims(**ms(jti=None, jkt=[THUMBPRINT])),
        id_token_claims(**ms(more="1")),
    ],
)
def test_anything_else_is_no_service_token(claims: dict[str, Any]) -> None:
    """Another provider, another uid, another version or another shape is refused."""
    with pytest.raises(TokenNotService):
        ServiceClaims.parse(claims)


@pytest.mark.parametrize("name", ["a", "billing", "order-2", "x" * 63])
def test_service_names(name: str) -> None:
    """Lower case, digits and hyphens make a name."""
    assert service_name(name) == name


@pytest.mark.parametrize("name", ["", "Billing", "2nd", "-a", "a-", "a_b", "a:b", "x" * 64, "a\n", "é"])
def test_what_is_no_service_name(name: str) -> None:
    """Anything that could be mistaken in a uid, a header or a log is none."""
    with pytest.raises(ValueError, match="no service name"):
        service_name(name)


def test_a_digest_stands_for_a_token_in_the_log() -> None:
    """The beginning of its SHA-256, whatever the text."""
    assert token_sha256("abc").hex()[:8] == log_name("abc") == "ba7816bf"
    assert len(token_sha256("\udcff")) == 32
