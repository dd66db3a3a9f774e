"""What the User service may answer instead of what was asked for.

Fault
├── CredentialsInvalid    401  credentials_invalid      no such account, wrong password, disabled: all the same
├── RefreshTokenInvalid   401  refresh_token_invalid
├── UserNotFound          404  user_not_found
├── EmailTaken            409  email_taken
├── AccountRefused        422  account_refused          Firebase takes no such e-mail address or password
├── TooManyAttempts       429  too_many_attempts
└── FirebaseUnavailable   503  firebase_unavailable

The tables that say which of Firebase's errors is which stand in `services.user.firebase`.
"""

from services.common.faults import Fault

_CHALLENGE = 'Bearer realm="user"'


class CredentialsInvalid(Fault):
    """E-mail address and password do not belong together. Which of them is wrong is not told to anyone."""

    status = 401
    code = "credentials_invalid"
    title = "E-mail address or password is wrong"
    challenge = _CHALLENGE


class RefreshTokenInvalid(Fault):
    """The refresh token is none, or the user has logged out since, or may not log in any more."""

    status = 401
    code = "refresh_token_invalid"
    title = "The refresh token does not count; log in again"
    challenge = _CHALLENGE


class UserNotFound(Fault):
    """Nobody with that uid has used this service."""

    status = 404
    code = "user_not_found"
    title = "There is no such user"


class EmailTaken(Fault):
    """There is an account with that e-mail address."""

    status = 409
    code = "email_taken"
    title = "There is an account with this e-mail address"


class AccountRefused(Fault):
    """Firebase does not take the e-mail address or the password; the detail says which."""

    status = 422
    code = "account_refused"
    title = "No account can be made of this"


class TooManyAttempts(Fault):
    """Too many log-ins have failed, as we count or as Firebase does."""

    status = 429
    code = "too_many_attempts"
    title = "Too many attempts; wait before the next"
    retry_after_seconds = 60

    def __init__(self, *, retry_after_seconds: int = 60) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class FirebaseUnavailable(Fault):
    """Firebase Auth does not answer, or not as it should."""

    status = 503
    code = "firebase_unavailable"
    title = "Accounts cannot be reached now"
    retry_after_seconds = 5
