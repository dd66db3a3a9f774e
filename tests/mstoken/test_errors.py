"""The tree of errors, and the answers of the refusals."""

import copy
import pickle
import re
from pathlib import Path

import pytest

from mstoken import errors

CODES = {
    "token_missing": 401,
    "token_malformed": 401,
    "token_untrusted": 401,
    "token_expired": 401,
    "token_stale": 401,
    "token_replayed": 401,
    "token_wrong_audience": 401,
    "token_not_service": 401,
    "identity_disabled": 401,
    "proof_missing": 401,
    "proof_invalid": 401,
    "proof_replayed": 401,
    "use_dpop_nonce": 401,
    "caller_not_allowed": 403,
    "verifier_unavailable": 503,
    "user_token_missing": 401,
    "user_token_invalid": 401,
    "user_token_revoked": 401,
}
REFUSALS: list[errors.Refusal] = [
    errors.TokenMissing(),
    errors.TokenMalformed(),
    errors.TokenUntrusted(),
    errors.TokenExpired(),
    errors.TokenStale(61, 60),
    errors.TokenReplayed(),
    errors.TokenWrongAudience("user", "product"),
    errors.TokenNotService(),
    errors.IdentityDisabled("svc:billing"),
    errors.ProofMissing(),
    errors.ProofInvalid("The proof is for another URL."),
    errors.ProofReplayed(),
    errors.ProofNonceRequired("nonce"),
    errors.CallerNotAllowed("svc:billing"),
    errors.VerifierUnavailable("no certificates"),
    errors.UserTokenMissing(),
    errors.UserTokenInvalid(),
    errors.UserTokenRevoked(),
]


def test_every_refusal_has_its_stable_code_and_status() -> None:
    """Callers depend on these codes and statuses."""
    assert {refusal.code: refusal.status for refusal in REFUSALS} == CODES


def test_the_docstring_shows_the_tree() -> None:
    """Each class is in the drawing of the module's docstring, and each name in the drawing is a class."""
    drawn = set(re.findall(r"[└├]── (\w+)", errors.__doc__ or "")) | {"MsTokenError"}
    assert drawn == {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.MsTokenError)
    }


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code)
def test_a_401_has_a_challenge_and_no_other_status_has_one(refusal: errors.Refusal) -> None:
    """RFC 9110, section 15.5.2: a 401 carries at least one challenge."""
    assert bool(refusal.challenges("product")) == (refusal.status == 401)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code)
def test_challenges_are_well_formed(refusal: errors.Refusal) -> None:
    """RFC 9110, section 11.6.1: a scheme, then parameters with quoted values."""
    for challenge in refusal.challenges("product"):
        assert re.fullmatch(r'(MsToken|DPoP|Bearer) \w+="[^"\\]*"(, \w+="[^"\\]*")*', challenge)


def test_a_missing_token_has_a_challenge_for_each_kind_of_token() -> None:
    """If users may call too, there are two challenges, and neither has an error."""
    assert errors.TokenMissing(users_too=True).challenges("product") == (
        'MsToken realm="product"',
        'Bearer realm="product"',
    )


def test_facts_are_attributes() -> None:
    """A program that handles an error reads its attributes, and need not parse its text."""
    stale = errors.TokenStale(75, 60)
    assert (stale.age_seconds, stale.max_age_seconds) == (75, 60)
    wrong = errors.TokenWrongAudience("user", "product")
    assert (wrong.audience, wrong.expected) == ("user", "product")
    assert errors.SignInUnavailable("svc:billing", "busy", retry_after_seconds=9).retry_after_seconds == 9


def test_errors_import_little() -> None:
    """Every module may import the errors, so they import only `problem` and `wire`."""
    imported = re.findall(r"^(?:from|import) (mstoken\S*)", Path(errors.__file__).read_text(), re.MULTILINE)
    assert set(imported) == {"mstoken.problem", "mstoken.wire"}


SIGN_IN_ERRORS = [
    errors.SignInRefused("svc:billing", "no"),
    errors.SignInUnavailable("svc:billing", "later", retry_after_seconds=9.0),
]


@pytest.mark.parametrize("error", [*REFUSALS, *SIGN_IN_ERRORS], ids=lambda error: type(error).__name__)
def test_errors_can_be_copied_and_pickled(error: errors.MsTokenError) -> None:
    """A copy has the same text and the same attributes."""
    for again in copy.copy(error), pickle.loads(pickle.dumps(error)):
        assert type(again) is type(error)
        assert (str(again), vars(again)) == (str(error), vars(error))


def test_a_nonce_is_in_a_header_of_the_answer() -> None:
    """RFC 9449, section 9."""
    assert errors.ProofNonceRequired("n1").headers() == {"DPoP-Nonce": "n1"}
    assert 'error="use_dpop_nonce"' in errors.ProofNonceRequired("n1").challenges("product")[0]
