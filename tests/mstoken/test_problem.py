"""Refusals as problem details, and the header fields that go with them."""

import pytest

from mstoken import errors
from mstoken.problem import problem_details, problem_headers


def test_the_members() -> None:
    """Title and status as RFC 9457 has them, the stable code, and what is known of this one call."""
    assert problem_details(errors.TokenWrongAudience("user", "product")) == {
        "type": "about:blank",
        "title": "The service token is for another service",
        "status": 401,
        "code": "token_wrong_audience",
        "detail": "It is for user, and this service is product.",
    }


def test_no_detail_where_there_is_none() -> None:
    """What is not known is left out."""
    assert problem_details(errors.TokenReplayed()).keys() == {"type", "title", "status", "code"}


@pytest.mark.parametrize(
    "refusal", [errors.VerifierUnavailable("redis:secret@10.0.0.7 is away"), errors.IssuerUnavailable("signBlob: 403")]
)
def test_an_outage_keeps_its_reason(refusal: errors.VerifierUnavailable | errors.IssuerUnavailable) -> None:
    """A stranger learns that it is one and when to come back, and nothing of what is broken inside."""
    headers = problem_headers(refusal, "product")
    assert problem_details(refusal).keys() == {"type", "title", "status", "code"}
    assert refusal.reason not in str(problem_details(refusal)) + str(headers)
    assert headers == {"Cache-Control": "no-store", "Retry-After": "1"}


def test_the_seconds_to_wait() -> None:
    """`Retry-After` is what the refusal says, in whole seconds (RFC 9110, section 10.2.3)."""
    refusal = errors.VerifierUnavailable("away", retry_after_seconds=7)
    assert problem_headers(refusal, "product")["Retry-After"] == "7"


def test_a_challenge_is_for_its_realm() -> None:
    """With 401 comes how to do better (RFC 9110, section 11.6.1), and no cache keeps it."""
    assert problem_headers(errors.CredentialExpired(), "token") == {
        "Cache-Control": "no-store",
        "WWW-Authenticate": 'Bearer realm="token", error="invalid_token", '
        'error_description="The credential has expired"',
    }


def test_several_challenges_are_one_field() -> None:
    """Every kind of token that would do is named."""
    headers = problem_headers(errors.TokenMissing(users_too=True), "product")
    assert headers["WWW-Authenticate"] == 'MsToken realm="product", Bearer realm="product"'


def test_no_challenge_where_none_would_help() -> None:
    """Another token changes nothing about 403 and 400."""
    for refusal in (errors.CallerNotAllowed("svc:user"), errors.TokenRequestInvalid("body: Invalid JSON")):
        assert problem_headers(refusal, "product") == {"Cache-Control": "no-store"}


def test_a_refusals_own_headers() -> None:
    """A nonce goes along with the challenge that asks for it (RFC 9449, section 8)."""
    headers = problem_headers(errors.ProofNonceRequired("a-nonce"), "product")
    assert headers["DPoP-Nonce"] == "a-nonce"
    assert headers["WWW-Authenticate"] == 'DPoP realm="product", error="use_dpop_nonce", algs="ES256"'
