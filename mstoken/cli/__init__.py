"""The command line: `mstoken`, or `python -m mstoken.cli`."""

import sys

EXTRA = frozenset({"rich", "typer"})
"""The modules that the extra `cli` installs."""


def main() -> None:
    """Run the command that the process's arguments name, and end the process with its exit status."""
    try:
        from mstoken.cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        sys.exit(f"mstoken: {error.name} is not installed. The command line needs the extra cli: install mstoken[cli].")
    app(prog_name="mstoken")
