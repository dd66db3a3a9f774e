"""The meaning of each error of firebase-admin and google-auth, in one table.

The table has every error class that these libraries export. A test fails if a release adds one. Otherwise an outage
could look like a bad token.
"""

import enum
from collections.abc import Mapping

from google.auth import exceptions as google


class Meaning(enum.Enum):
    """The cause of an error."""

    EXPIRED = "the token has expired"
    UNTRUSTED = "the token is not valid"
    OUTAGE = "a service does not answer now"
    CONFIGURATION = "this process lacks a permission, a credential or a setting"


_GOOGLE_AUTH: Mapping[type[Exception], Meaning] = {
    google.InvalidValue: Meaning.UNTRUSTED,
    google.MalformedError: Meaning.UNTRUSTED,
    google.GoogleAuthError: Meaning.OUTAGE,
    google.OSError: Meaning.OUTAGE,
    google.RefreshError: Meaning.OUTAGE,
    google.ResponseError: Meaning.OUTAGE,
    google.TimeoutError: Meaning.OUTAGE,
    google.TransportError: Meaning.OUTAGE,
    google.ClientCertError: Meaning.CONFIGURATION,
    google.DefaultCredentialsError: Meaning.CONFIGURATION,
    google.InvalidOperation: Meaning.CONFIGURATION,
    google.InvalidResource: Meaning.CONFIGURATION,
    google.InvalidType: Meaning.CONFIGURATION,
    google.MutualTLSChannelError: Meaning.CONFIGURATION,
    google.OAuthError: Meaning.CONFIGURATION,
    google.ReauthFailError: Meaning.CONFIGURATION,
    google.ReauthSamlChallengeFailError: Meaning.CONFIGURATION,
    google.UserAccessTokenError: Meaning.CONFIGURATION,
}


def _firebase_admin() -> Mapping[type[Exception], Meaning]:
    """Return the part of the table for firebase-admin. It is empty if that is not installed."""
    try:
        from firebase_admin import auth, exceptions
    except ModuleNotFoundError as error:
        if error.name != "firebase_admin":
            raise
        return {}
    return {
        auth.ExpiredIdTokenError: Meaning.EXPIRED,
        auth.ExpiredSessionCookieError: Meaning.EXPIRED,
        auth.InvalidIdTokenError: Meaning.UNTRUSTED,
        auth.InvalidSessionCookieError: Meaning.UNTRUSTED,
        auth.RevokedIdTokenError: Meaning.UNTRUSTED,
        auth.RevokedSessionCookieError: Meaning.UNTRUSTED,
        auth.UserDisabledError: Meaning.UNTRUSTED,
        auth.CertificateFetchError: Meaning.OUTAGE,
        auth.ResetPasswordExceedLimitError: Meaning.OUTAGE,
        auth.TokenSignError: Meaning.OUTAGE,
        auth.TooManyAttemptsTryLaterError: Meaning.OUTAGE,
        auth.UnexpectedResponseError: Meaning.OUTAGE,
        auth.ConfigurationNotFoundError: Meaning.CONFIGURATION,
        auth.EmailAlreadyExistsError: Meaning.CONFIGURATION,
        auth.EmailNotFoundError: Meaning.CONFIGURATION,
        auth.InsufficientPermissionError: Meaning.CONFIGURATION,
        auth.InvalidDynamicLinkDomainError: Meaning.CONFIGURATION,
        auth.InvalidHostingLinkDomainError: Meaning.CONFIGURATION,
        auth.PhoneNumberAlreadyExistsError: Meaning.CONFIGURATION,
        auth.UidAlreadyExistsError: Meaning.CONFIGURATION,
        auth.UserNotFoundError: Meaning.CONFIGURATION,
        exceptions.FirebaseError: Meaning.OUTAGE,
        exceptions.AbortedError: Meaning.OUTAGE,
        exceptions.CancelledError: Meaning.OUTAGE,
        exceptions.ConflictError: Meaning.OUTAGE,
        exceptions.DataLossError: Meaning.OUTAGE,
        exceptions.DeadlineExceededError: Meaning.OUTAGE,
        exceptions.InternalError: Meaning.OUTAGE,
        exceptions.ResourceExhaustedError: Meaning.OUTAGE,
        exceptions.UnavailableError: Meaning.OUTAGE,
        exceptions.UnknownError: Meaning.OUTAGE,
        exceptions.AlreadyExistsError: Meaning.CONFIGURATION,
        exceptions.FailedPreconditionError: Meaning.CONFIGURATION,
        exceptions.InvalidArgumentError: Meaning.CONFIGURATION,
        exceptions.NotFoundError: Meaning.CONFIGURATION,
        exceptions.OutOfRangeError: Meaning.CONFIGURATION,
        exceptions.PermissionDeniedError: Meaning.CONFIGURATION,
        exceptions.UnauthenticatedError: Meaning.CONFIGURATION,
    }


MEANINGS: Mapping[type[Exception], Meaning] = {**_firebase_admin(), **_GOOGLE_AUTH}


def meaning_of(error: Exception) -> Meaning | None:
    """Return the meaning of the error's class, or of its nearest base class. None for an error of neither library."""
    return next((MEANINGS[kind] for kind in type(error).__mro__ if kind in MEANINGS), None)
