"""How commands fail."""

from typing import Any

import google.auth.exceptions
import pytest
import typer
from firebase_admin import exceptions
from typer.testing import CliRunner

from mstoken.cli.failures import NO, UNREACHABLE, CommandError, Commands, explained
from mstoken.errors import (
    IssuerUnavailable,
    PolicyError,
    SettingsError,
    SignInRefused,
    SignInUnavailable,
    TokenExpired,
    VerifierUnavailable,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CommandError("no such thing"), NO),
        (CommandError("not now", UNREACHABLE), UNREACHABLE),
        (SettingsError("MSTOKEN_MODE is 'x'"), NO),
        (PolicyError("policy.toml", [(3, "a table is wanted")]), NO),
        (SignInRefused("svc:billing", "USER_DISABLED"), NO),
        (SignInUnavailable("svc:billing", "no answer"), UNREACHABLE),
        (VerifierUnavailable("locked"), UNREACHABLE),
        (IssuerUnavailable("locked"), UNREACHABLE),
        (TokenExpired(), NO),
        (PermissionError(13, "Permission denied", "policy.toml"), NO),
        (exceptions.UnavailableError("no answer"), UNREACHABLE),
        (exceptions.PermissionDeniedError("not yours"), NO),
        (google.auth.exceptions.DefaultCredentialsError("none"), NO),
        (google.auth.exceptions.TransportError("no answer"), UNREACHABLE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_may_work_later_has_a_status_of_its_own(error: Exception, status: int) -> None:
    """A script can tell a no from what could not be reached now."""
    told = explained(error)
    assert told is not None
    assert told.status == status
    assert str(told)


def test_a_file_is_named() -> None:
    """What cannot be read or written is told with its name and the reason, without Python's number."""
    assert str(explained(PermissionError(13, "Permission denied", "policy.toml"))) == "policy.toml: Permission denied"


def test_errors_of_firebase_are_told_in_a_line() -> None:
    """What Google's libraries say over many lines is cut to the first of them."""
    told = str(explained(exceptions.UnavailableError("no answer\nfrom anywhere")))
    assert told == "Firebase could not be asked: UnavailableError: no answer"


def failing(error: BaseException) -> Any:
    app = typer.Typer(cls=Commands)

    @app.command()
    def fail() -> None:
        raise error

    @app.command()
    def other() -> None: ...

    return app


def test_a_failure_is_one_sentence_on_stderr() -> None:
    """No traceback, nothing on stdout, nothing for the terminal to act on, and the status."""
    result = CliRunner().invoke(failing(CommandError("it is\x1b[2J so", UNREACHABLE)), ["fail"])
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "mstoken: it is\\x1b[2J so\n")


def test_defects_are_not_hidden() -> None:
    """An error that nobody expects is not taken for an answer."""
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(failing(ZeroDivisionError()), ["fail"], catch_exceptions=False)


def test_a_reader_that_has_had_enough_is_no_failure() -> None:
    """Where the pipe is closed, as by `head`, nothing is said about it."""
    result = CliRunner().invoke(failing(BrokenPipeError(32, "Broken pipe")), ["fail"])
    assert (result.exit_code, result.output) == (1, "")
