"""Exit statuses, and how a command fails: with one plain sentence on stderr, never a traceback."""

from typing import Any

import typer
import typer.core

from mstoken.cli.output import note
from mstoken.errors import IssuerUnavailable, MsTokenError, SignInUnavailable, VerifierUnavailable
from mstoken.upstream_errors import Meaning, meaning_of

FINE = 0
"""It is done, or the answer is yes."""
NO = 1
"""The answer is no, or what was looked for is wrong: a fault was found, a policy is wrong, a sign-in was refused."""
USAGE = 2
"""The command does not exist, or not with such arguments. Typer says so itself."""
UNREACHABLE = 3
"""Something could not be reached now; later the same command may work."""

MEANINGS = """\b
Exit status:
  0  it is done, or the answer is yes
  1  the answer is no, or what was looked for is wrong
  2  no such command, option or argument
  3  something could not be reached now: try again later"""
"""The exit statuses, for --help; the \\b keeps the lines as they are."""

LONGEST_REASON_CHARACTERS = 300


class CommandError(Exception):
    """Ends a command with a sentence for people, and an exit `status`."""

    def __init__(self, text: str, status: int = NO) -> None:
        super().__init__(text)
        self.status = status


class Commands(typer.core.TyperGroup):
    """A group of commands whose expected errors are told in a sentence; others are defects, with their traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # Typer ends quietly then: whoever read the output has had enough.
        except Exception as error:
            told = explained(error)
            if told is None:
                raise
        note(f"mstoken: {told}")
        raise typer.Exit(told.status)


def explained(error: Exception) -> CommandError | None:
    """What an expected error is told as; None for one that nobody expects."""
    meaning = meaning_of(error)
    if meaning is not None:
        status = UNREACHABLE if meaning is Meaning.OUTAGE else NO
        return CommandError(f"Firebase could not be asked: {reason(error)}", status)
    match error:
        case CommandError():
            return error
        case SignInUnavailable() | VerifierUnavailable() | IssuerUnavailable():
            return CommandError(str(error), UNREACHABLE)
        case MsTokenError():
            return CommandError(str(error))
        case OSError():
            place = f"{error.filename}: " if error.filename is not None else ""
            return CommandError(f"{place}{error.strerror or type(error).__name__}")
    return None


def reason(error: Exception) -> str:
    """The kind of an error of firebase-admin or google-auth, and the first line of what it says."""
    said = str(error).strip().partition("\n")[0][:LONGEST_REASON_CHARACTERS]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
