"""Exit statuses, and how a command reports an error: one sentence on stderr and no traceback."""

import os
from typing import Any

import typer
import typer.core
from typing_extensions import override

from mstoken.cli.output import note
from mstoken.errors import IssuerUnavailable, MsTokenError, SignInUnavailable, VerifierUnavailable
from mstoken.settings import AUTH_EMULATOR_VARIABLE, RUN_EMULATOR
from mstoken.upstream_errors import Meaning, meaning_of

OK = 0
"""The command did its work, or the answer is yes."""
FAILED = 1
"""The command failed, or the answer is no: an error was found, the policy is wrong, a sign-in was refused."""
USAGE = 2
"""The command does not exist, or its arguments are wrong. Typer reports this itself."""
UNREACHABLE = 3
"""Something could not be reached now. The same command may work later."""

EXIT_STATUSES = """\b
Exit status:
  0  the command did its work, or the answer is yes
  1  the command failed, or the answer is no
  2  no such command, option or argument
  3  something could not be reached now: try again later"""
"""The exit statuses, for --help. Typer does not wrap a paragraph that begins with \\b."""

MAX_TEXT_CHARACTERS = 300


class CommandError(Exception):
    """An error that ends a command, with a sentence for the user and an exit `status`."""

    def __init__(self, text: str, status: int = FAILED) -> None:
        super().__init__(text)
        self.status = status


class CommandGroup(typer.core.TyperGroup):
    """A group of commands that reports expected errors in one sentence. Any other exception keeps its traceback."""

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # Typer ends the process silently: the program that read the output has closed the pipe.
        except Exception as error:
            command_error = as_command_error(error)
            if command_error is None:
                raise
        note(f"mstoken: {command_error}")
        raise typer.Exit(command_error.status)


def as_command_error(error: Exception) -> CommandError | None:
    """Return an expected error as a `CommandError`, and None for an unexpected one, which is a defect."""
    match meaning_of(error):
        case Meaning.OUTAGE:
            # firebase-admin reads the address of the emulator from the environment too.
            emulator = os.environ.get(AUTH_EMULATOR_VARIABLE)
            where, advice = (f" at {emulator}", RUN_EMULATOR) if emulator else ("", "Try again later")
            return CommandError(
                f"Firebase could not be reached{where} ({type(error).__name__}). {advice}.", UNREACHABLE
            )
        case Meaning():
            return CommandError(f"The request to Firebase failed: {_first_line(error)}")
    match error:
        case CommandError():
            return error
        case SignInUnavailable() | VerifierUnavailable() | IssuerUnavailable():
            return CommandError(str(error), UNREACHABLE)
        case MsTokenError():
            return CommandError(str(error))
        case OSError():
            file = f"{error.filename}: " if error.filename is not None else ""
            return CommandError(f"{file}{error.strerror or type(error).__name__}")
    return None


def _first_line(error: Exception) -> str:
    """Return the class name of an error of firebase-admin or google-auth, and the first line of its text."""
    text = str(error).strip().partition("\n")[0][:MAX_TEXT_CHARACTERS]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
