"""How commands report errors."""

from typing import Any

import google.auth.exceptions
import pytest
import typer
from firebase_admin import exceptions
from typer.testing import CliRunner

from mstoken.cli.errors import FAILED, UNREACHABLE, CommandError, CommandGroup, as_command_error
from mstoken.errors import (
    IssuerUnavailable,
    PolicyError,
    SettingsError,
    SignInRefused,
    SignInUnavailable,
    TokenExpired,
    VerifierUnavailable,
)
from tests.mstoken.test_settings import environment


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CommandError("no such thing"), FAILED),
        (CommandError("not now", UNREACHABLE), UNREACHABLE),
        (SettingsError("MSTOKEN_MODE is 'x'"), FAILED),
        (PolicyError("policy.toml", [("services", "must be a table")]), FAILED),
        (SignInRefused("svc:billing", "USER_DISABLED"), FAILED),
        (SignInUnavailable("svc:billing", "no answer"), UNREACHABLE),
        (VerifierUnavailable("locked"), UNREACHABLE),
        (IssuerUnavailable("locked"), UNREACHABLE),
        (TokenExpired(), FAILED),
        (PermissionError(13, "Permission denied", "policy.toml"), FAILED),
        (exceptions.UnavailableError("no answer"), UNREACHABLE),
        (exceptions.PermissionDeniedError("not yours"), FAILED),
        (google.auth.exceptions.DefaultCredentialsError("none"), FAILED),
        (google.auth.exceptions.TransportError("no answer"), UNREACHABLE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_outage_has_an_exit_status_of_its_own(error: Exception, status: int) -> None:
    """A script can tell an error from an outage, after which it may try again."""
    command_error = as_command_error(error)
    assert command_error is not None
    assert command_error.status == status
    assert str(command_error)


def test_an_error_of_the_operating_system_names_the_file() -> None:
    """The sentence has the name and the reason, without the error number."""
    error = PermissionError(13, "Permission denied", "policy.toml")
    assert str(as_command_error(error)) == "policy.toml: Permission denied"


def test_errors_of_firebase_are_cut_to_their_first_line() -> None:
    """Google's libraries may write many lines."""
    error = as_command_error(exceptions.PermissionDeniedError("not yours\nread the manual"))
    assert str(error) == "The request to Firebase failed: PermissionDeniedError: not yours"


def test_an_outage_of_firebase_is_reported_without_the_details_of_the_connection() -> None:
    """The text of such an error is long, and names objects of the HTTP library."""
    with environment():
        error = as_command_error(exceptions.UnavailableError("HTTPConnectionPool(host='127.0.0.1', port=1): no answer"))
    assert str(error) == "Firebase could not be reached (UnavailableError). Try again later."


def test_an_outage_of_the_emulator_names_its_address() -> None:
    """It is not over later, unless somebody starts the emulator."""
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9199"):
        error = as_command_error(exceptions.UnavailableError("HTTPConnectionPool(host='127.0.0.1', port=9199): no"))
    assert error is not None
    assert error.status == UNREACHABLE
    assert str(error) == (
        "Firebase could not be reached at 127.0.0.1:9199 (UnavailableError). "
        "Run `mstoken emulator`, and set FIREBASE_AUTH_EMULATOR_HOST to its address."
    )


def failing(error: BaseException) -> Any:
    app = typer.Typer(cls=CommandGroup)

    @app.command()
    def fail() -> None:
        raise error

    @app.command()
    def other() -> None: ...

    return app


def test_an_expected_error_is_one_sentence_on_stderr() -> None:
    """There is no traceback, nothing on stdout, and no control character. The exit status is that of the error."""
    result = CliRunner().invoke(failing(CommandError("it is\x1b[2J so", UNREACHABLE)), ["fail"])
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "mstoken: it is\\x1b[2J so\n")


def test_unexpected_errors_are_not_hidden() -> None:
    """Such an error is a defect, and keeps its traceback."""
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(failing(ZeroDivisionError()), ["fail"], catch_exceptions=False)


def test_a_closed_pipe_is_not_reported() -> None:
    """Programs such as `head` close the pipe when they have read enough."""
    result = CliRunner().invoke(failing(BrokenPipeError(32, "Broken pipe")), ["fail"])
    assert (result.exit_code, result.output) == (1, "")
