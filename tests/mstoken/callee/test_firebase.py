"""What errors of firebase-admin and google-auth amount to."""

import google.auth.exceptions
import pytest
from firebase_admin import auth, exceptions

from mstoken.callee.firebase import refusal_for
from mstoken.errors import Refusal, TokenExpired, TokenUntrusted, VerifierUnavailable


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (auth.InvalidIdTokenError("x"), TokenUntrusted),
        (auth.ExpiredIdTokenError("x", None), TokenExpired),
        (auth.CertificateFetchError("x", None), VerifierUnavailable),
        (exceptions.UnavailableError("x"), VerifierUnavailable),
        (exceptions.UnknownError("x"), VerifierUnavailable),
        (google.auth.exceptions.TransportError("x"), VerifierUnavailable),
        (google.auth.exceptions.DefaultCredentialsError("x"), VerifierUnavailable),
    ],
)
def test_the_token_is_to_blame_or_there_is_an_outage(error: Exception, refusal: type[Refusal]) -> None:
    """An outage is never taken for a bad token, nor a bad token for an outage."""
    assert type(refusal_for(error)) is refusal


def test_a_defect_in_the_program_is_not_hidden() -> None:
    """Errors of neither library come out as they are."""
    with pytest.raises(ZeroDivisionError):
        refusal_for(ZeroDivisionError())
