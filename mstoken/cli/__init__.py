"""The command line: `mstoken`, or `python -m mstoken`."""

import sys

from mstoken.extras import MissingExtra, needed_by


def main() -> None:
    """Run the command that the process's arguments name, and end the process with its exit status."""
    try:
        with needed_by("the command line", "cli"):
            from mstoken.cli.app import app
    except MissingExtra as error:
        sys.exit(f"mstoken: {error}")
    app(prog_name="mstoken")
