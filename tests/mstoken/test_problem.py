"""Problems as problem details, and their header fields."""

import pytest

from mstoken import errors
from mstoken.problem import problem_details, problem_headers


def test_the_members_of_problem_details() -> None:
    """They are those of RFC 9457, the stable code, and the detail of this occurrence."""
    assert problem_details(errors.TokenWrongAudience("user", "product")) == {
        "type": "about:blank",
        "title": "The service token is for another service",
        "status": 401,
        "code": "token_wrong_audience",
        "detail": "The token is for user, and this service is product.",
    }


def test_a_problem_without_a_detail() -> None:
    """The member `detail` is left out."""
    assert problem_details(errors.TokenReplayed()).keys() == {"type", "title", "status", "code"}


@pytest.mark.parametrize(
    "refusal", [errors.VerifierUnavailable("redis:secret@10.0.0.7 is down"), errors.IssuerUnavailable("signBlob: 403")]
)
def test_the_reason_of_an_outage_is_not_in_the_answer(
    refusal: errors.VerifierUnavailable | errors.IssuerUnavailable,
) -> None:
    """The answer says that there is an outage and when to retry, and not what is broken."""
    headers = problem_headers(refusal, "product")
    assert problem_details(refusal).keys() == {"type", "title", "status", "code"}
    assert refusal.reason not in str(problem_details(refusal)) + str(headers)
    assert headers == {"Cache-Control": "no-store", "Retry-After": "1"}


def test_retry_after() -> None:
    """`Retry-After` is the number of seconds that the problem has (RFC 9110, section 10.2.3)."""
    refusal = errors.VerifierUnavailable("down", retry_after_seconds=7)
    assert problem_headers(refusal, "product")["Retry-After"] == "7"


def test_a_challenge_names_its_realm() -> None:
    """A 401 has a challenge (RFC 9110, section 11.6.1), and is not cached."""
    assert problem_headers(errors.CredentialExpired(), "token") == {
        "Cache-Control": "no-store",
        "WWW-Authenticate": 'Bearer realm="token", error="invalid_token", '
        'error_description="The credential has expired"',
    }


def test_several_challenges_are_one_field() -> None:
    """Each kind of token that would be accepted has a challenge."""
    headers = problem_headers(errors.TokenMissing(users_too=True), "product")
    assert headers["WWW-Authenticate"] == 'MsToken realm="product", Bearer realm="product"'


def test_other_statuses_have_no_challenge() -> None:
    """Another token would not change a 403 or a 400."""
    for refusal in (errors.CallerNotAllowed("svc:user"), errors.TokenRequestInvalid("body: Invalid JSON")):
        assert problem_headers(refusal, "product") == {"Cache-Control": "no-store"}


def test_a_problem_can_have_further_headers() -> None:
    """The challenge that asks for a nonce comes with one (RFC 9449, section 8)."""
    headers = problem_headers(errors.ProofNonceRequired("a-nonce"), "product")
    assert headers["DPoP-Nonce"] == "a-nonce"
    assert headers["WWW-Authenticate"] == 'DPoP realm="product", error="use_dpop_nonce", algs="ES256"'
