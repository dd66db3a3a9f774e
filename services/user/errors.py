"""The errors that User may answer with.

    Problem
    ├── CredentialsInvalid    401  credentials_invalid
    ├── RefreshTokenInvalid   401  refresh_token_invalid
    ├── UserNotFound          404  user_not_found
    ├── EmailTaken            409  email_taken
    ├── AccountRefused        422  account_refused
    ├── TooManyAttempts       429  too_many_attempts
    └── FirebaseUnavailable   503  firebase_unavailable

`services.user.firebase` has the tables that map Firebase's errors to these.
"""

from mstoken.problem import Problem
from mstoken.wire import BEARER_SCHEME


class CredentialsInvalid(Problem):
    """The account does not exist, the password is wrong, or the account is disabled. The answer does not tell which."""

    status = 401
    code = "credentials_invalid"
    title = "The e-mail address or the password is wrong"
    scheme = BEARER_SCHEME


class RefreshTokenInvalid(Problem):
    """The refresh token is not valid, the user has logged out since it was issued, or the account is disabled."""

    status = 401
    code = "refresh_token_invalid"
    title = "The refresh token is not valid; log in again"
    scheme = BEARER_SCHEME


class UserNotFound(Problem):
    """No user with that uid has used the shop."""

    status = 404
    code = "user_not_found"
    title = "There is no such user"


class EmailTaken(Problem):
    """An account with that e-mail address exists."""

    status = 409
    code = "email_taken"
    title = "An account with this e-mail address exists"


class AccountRefused(Problem):
    """The e-mail address or the password is not accepted, here or by Firebase; `detail` says which."""

    status = 422
    code = "account_refused"
    title = "The account cannot be created"


class TooManyAttempts(Problem):
    """Too many log-ins have failed, or too many sign-ups or refreshes were made, here or in the Firebase project."""

    status = 429
    code = "too_many_attempts"
    title = "There were too many attempts; wait before the next one"

    def __init__(self, *, retry_after_seconds: int = 60) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class FirebaseUnavailable(Problem):
    """Firebase Auth does not answer, or its answer is not valid."""

    status = 503
    code = "firebase_unavailable"
    title = "Firebase Auth does not answer"
    retry_after_seconds = 5
