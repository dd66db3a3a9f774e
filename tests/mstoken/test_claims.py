"""The ms claim is read as it was written, and any other claim is refused."""

from typing import Any

import pytest

from mstoken.claims import ServiceClaims, log_name, service_name, token_mode, token_sha256
from mstoken.errors import TokenNotService

NOW = 1_800_000_000
FRESH = ServiceClaims.fresh("billing", "product", minted_at=NOW)
THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
BOUND = ServiceClaims.bound("billing", "product", THUMBPRINT, minted_at=NOW)


def id_token_claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a valid service token, with `changes`."""
    claims = {"sub": "svc:billing", "firebase": {"sign_in_provider": "custom"}, **FRESH.as_developer_claims()}
    return claims | changes


def ms(**changes: Any) -> dict[str, Any]:
    """Return a valid ms claim with `changes`. None removes a member."""
    claim = FRESH.as_developer_claims()["ms"] | changes
    return {"ms": {name: value for name, value in claim.items() if value is not None}}


def test_the_callee_reads_what_the_caller_wrote() -> None:
    """The claims of both kinds of token are the same after writing and reading."""
    assert ServiceClaims.parse(id_token_claims()) == FRESH
    assert ServiceClaims.parse(id_token_claims(**BOUND.as_developer_claims())) == BOUND
    assert (FRESH.uid, BOUND.uid) == ("svc:billing", "svc:billing")


def test_the_claim_tells_the_mode() -> None:
    """A claim with an id is that of a fresh token, one with a thumbprint is that of a bound token."""
    assert (FRESH.mode, BOUND.mode) == ("fresh", "proof")
    common = {"v": 1, "svc": "billing", "aud": "product", "iat": NOW}
    assert BOUND.as_developer_claims() == {"ms": common | {"jkt": THUMBPRINT}}
    assert FRESH.as_developer_claims() == {"ms": common | {"jti": FRESH.token_id}}


def test_the_claim_has_the_time_of_minting_in_whole_seconds() -> None:
    """A fraction is dropped, so a token never looks newer than it is. A signer can replace the time."""
    assert ServiceClaims.fresh("billing", "product", minted_at=NOW + 0.9).minted_at == NOW
    assert ServiceClaims.bound("billing", "product", THUMBPRINT, minted_at=NOW + 0.9).minted_at == NOW
    later = FRESH.with_minted_at(NOW + 7.9)
    assert (later.minted_at, later.token_id) == (NOW + 7, FRESH.token_id)


def test_each_fresh_token_has_a_new_id() -> None:
    """The ids are 128 random bits."""
    ids = {str(ServiceClaims.fresh("billing", "product", minted_at=NOW).token_id) for _ in range(1000)}
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
        id_token_claims(**ms(iat=None)),
        id_token_claims(**ms(iat=str(NOW))),
        id_token_claims(**ms(iat=NOW + 0.5)),
        id_token_claims(**ms(iat=-1)),
        id_token_claims(**ms(iat=True)),
        id_token_claims(**ms(iat=[NOW])),
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
def test_other_claims_are_not_those_of_a_service_token(claims: dict[str, Any]) -> None:
    """Another sign-in provider, another uid, another version, and other members are refused."""
    with pytest.raises(TokenNotService):
        ServiceClaims.parse(claims)


@pytest.mark.parametrize("name", ["a", "billing", "order-2", "x" * 63])
def test_service_names(name: str) -> None:
    """A name consists of lower-case letters, digits and hyphens."""
    assert service_name(name) == name


@pytest.mark.parametrize("name", ["", "Billing", "2nd", "-a", "a-", "a_b", "a:b", "x" * 64, "a\n", "é"])
def test_other_names_are_refused(name: str) -> None:
    """A name cannot contain what would be ambiguous in a uid, a header or a log."""
    with pytest.raises(ValueError, match="not a service name"):
        service_name(name)


@pytest.mark.parametrize("mode", ["fresh", "proof"])
def test_modes(mode: str) -> None:
    """There are two modes."""
    assert token_mode(mode) == mode


@pytest.mark.parametrize("mode", ["", "bound", "Fresh", "proof "])
def test_other_modes_are_refused(mode: str) -> None:
    """The error names the modes that there are."""
    with pytest.raises(ValueError, match="is not a mode: expected fresh or proof"):
        token_mode(mode)


def test_the_name_of_a_token_in_logs_is_a_hash() -> None:
    """It is the beginning of the SHA-256 of the token, which exists for any text."""
    assert token_sha256("abc").hex()[:8] == log_name("abc") == "ba7816bf"
    assert len(token_sha256("\udcff")) == 32
