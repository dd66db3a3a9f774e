"""The command line: `mstoken`, or `python -m mstoken.cli`."""

import sys

EXTRA = frozenset({"rich", "tomlkit", "typer"})
"""What the command line needs beyond the library: the extra `cli`."""


def main() -> None:
    """Runs the command that the process's arguments name, and ends the process with its exit status."""
    try:
        from mstoken.cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        sys.exit(f"mstoken: {error.name} is not installed here: install mstoken[cli] for the command line.")
    app(prog_name="mstoken")
