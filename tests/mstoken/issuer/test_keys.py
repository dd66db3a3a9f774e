"""Registered keys: which ones are accepted, and how they are identified."""

import datetime
from typing import Any

import jwt
import pytest
from pydantic import ValidationError

from mstoken.errors import PolicyError
from mstoken.issuer.keys import RegisteredKey
from mstoken.issuer.policy import Policy
from mstoken.jwk import thumbprint
from mstoken.strict_jwt import base64url
from tests.mstoken.issuer.policies import P256, P256_KEY, error_of, key, with_keys

ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
"""The public key of RFC 8037, appendix A.2."""


def test_a_registered_key_verifies_what_its_service_signs() -> None:
    """PyJWT accepts the key, for ES256."""
    token = jwt.encode({"iss": "warehouse"}, P256_KEY, "ES256")
    assert jwt.decode(token, key(P256).public_key, ["ES256"]) == {"iss": "warehouse"}


def test_a_registered_key_is_identified_by_its_thumbprint() -> None:
    """The thumbprint (RFC 7638) does not depend on the other members of the JWK."""
    assert key(P256).key_id == key(P256 | {"kid": "a name", "use": "sig"}).key_id == thumbprint(P256)


def test_the_public_members_define_the_key() -> None:
    """They are what a policy needs in order to register the key, and nothing else."""
    assert key(P256 | {"kid": "a name", "use": "sig", "alg": "ES256"}).public_members == P256


@pytest.mark.parametrize("more", [{"kid": "any"}, {"kid": 7}, {"kid": {"a": 1}}, {"use": "sig"}, {"alg": "ES256"}])
def test_a_jwk_may_have_a_name_a_use_and_an_algorithm(more: dict[str, Any]) -> None:
    """The name is ignored. The use and the algorithm must be those of a key for signing with ES256."""
    assert key(P256 | more).key_id == thumbprint(P256)


def dated_key(**dates: datetime.date) -> RegisteredKey:
    return RegisteredKey.model_validate({"jwk": P256, **dates})


def test_a_key_expires_when_its_last_day_has_ended() -> None:
    """`expires` is the first day on which it is not accepted, in UTC. A key without it does not expire."""
    expiring = dated_key(expires=datetime.date(2027, 1, 15))
    midnight = datetime.datetime(2027, 1, 15, tzinfo=datetime.UTC).timestamp()
    assert not expiring.has_expired(midnight - 0.5)
    assert expiring.has_expired(midnight)
    assert expiring.has_expired(midnight + 10 * 365 * 86_400)
    assert not key(P256).has_expired(midnight + 100 * 365 * 86_400)


def test_a_key_cannot_expire_before_it_was_added() -> None:
    """Such a key was never accepted, so one of the dates is wrong."""
    day = datetime.date(2027, 1, 15)
    assert dated_key(added=day, expires=day + datetime.timedelta(1)).expires is not None
    with pytest.raises(ValidationError, match="expires must be a later date than added"):
        dated_key(added=day, expires=day)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"kty": "RSA"}, "jwk.kty: must be 'EC'"),
        ({"kty": "oct"}, "jwk.kty: must be 'EC'"),
        ({"kty": ["EC"]}, "jwk.kty: must be 'EC'"),
        ({"crv": "P-384"}, "jwk.crv: must be 'P-256'"),
        ({"crv": "secp256k1"}, "jwk.crv: must be 'P-256'"),
        ({"crv": "Ed25519"}, "jwk.crv: must be 'P-256'"),
        ({"alg": "ES384"}, "jwk.alg: must be 'ES256'"),
        ({"alg": "EdDSA"}, "jwk.alg: must be 'ES256'"),
        ({"alg": "none"}, "jwk.alg: must be 'ES256'"),
        ({"use": "enc"}, "jwk.use: must be 'sig'"),
        ({"x": P256["y"]}, "jwk: not a point on the curve P-256"),
        ({"x": "A" * 43, "y": "A" * 43}, "jwk: not a point on the curve P-256"),
        ({"x": P256["x"] + "="}, "jwk.x: must be 32 bytes in base64url without padding"),
        ({"y": base64url(bytes(31))}, "jwk.y: must be 32 bytes in base64url without padding"),
        ({"y": base64url(bytes(33))}, "jwk.y: must be 32 bytes in base64url without padding"),
        ({"y": "A" * 42 + "B"}, "jwk.y: must be 32 bytes in base64url without padding"),
        ({"x": 5}, "jwk.x: must be a string"),
    ],
)
def test_only_keys_for_es256_are_accepted(changes: dict[str, Any], error: str) -> None:
    """The key must be a point on P-256, with coordinates in their only valid spelling."""
    assert error_of(with_keys(P256 | changes)) == f"services.warehouse.keys[0].{error}"


def test_a_key_of_ed25519_is_not_accepted() -> None:
    """The policy is refused, and the error says what is expected instead."""
    with pytest.raises(PolicyError) as caught:
        Policy.parse(with_keys(ED25519), "policy.toml")
    place = "services.warehouse.keys[0].jwk"
    assert caught.value.errors == (
        (f"{place}.kty", "must be 'EC'"),
        (f"{place}.crv", "must be 'P-256'"),
        (f"{place}.y", "required, but missing"),
    )


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
@pytest.mark.parametrize("jwk", [P256, ED25519, {"kty": "RSA"}, {"kty": "oct"}, {}], ids=lambda jwk: jwk.get("kty"))
def test_a_private_key_is_refused_and_not_repeated(jwk: dict[str, Any], member: str) -> None:
    """Everyone who has read the file has the key, so it must not be trusted, and no error or log may repeat it."""
    secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"
    for text in (
        with_keys(jwk | {member: secret}),
        with_keys(P256).replace("{ jwk", f"{{ {member} = '{secret}', jwk"),
    ):
        with pytest.raises(PolicyError) as caught:
            Policy.parse(text, "policy.toml")
        assert "services.warehouse.keys[0]: this is a private key" in str(caught.value)
        assert caught.value.__context__ is None
        assert secret not in repr(vars(caught.value)) + str(caught.value)


def test_errors_of_the_models_do_not_repeat_their_input() -> None:
    """A private key is not repeated either when a key is created in Python."""
    with pytest.raises(ValidationError) as caught:
        RegisteredKey.model_validate({"jwk": P256 | {"d": "secret-of-a-service"}})
    assert "secret-of-a-service" not in str(caught.value)
