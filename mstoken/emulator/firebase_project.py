"""What the files of a Firebase project say: its id, and the port of its Auth emulator.

Source: Firebase CLI, "Project configuration" (firebase.json) and "Project aliases" (.firebaserc).
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DEFAULT_AUTH_EMULATOR = "127.0.0.1:9099"


def project_of_command(command: Sequence[str]) -> str | None:
    """Return the project that a command of the Firebase CLI names with `--project` or `-P`, and None if it names none.

    An alias counts as the project that `.firebaserc` has for it.
    """
    named = None
    for argument, following in itertools.zip_longest(command, command[1:]):
        if argument in ("--project", "-P"):
            named = following
        elif argument.startswith("--project="):
            named = argument.removeprefix("--project=")
    return named and project_of_alias(named)


def project_of_alias(alias: str, folder: Path = Path()) -> str:
    """Return the project that `.firebaserc` has for an alias. Any other text is itself the id of a project."""
    found = _member(_read(folder / ".firebaserc"), "projects", alias)
    return found if isinstance(found, str) else alias


def default_project(folder: Path = Path()) -> str | None:
    """Return the default project of `.firebaserc`, and None if there is none."""
    found = _member(_read(folder / ".firebaserc"), "projects", "default")
    return found if isinstance(found, str) else None


def auth_emulator(folder: Path = Path()) -> str:
    """Return the host:port of the Auth emulator, as `firebase.json` sets it. The CLI's default is 127.0.0.1:9099."""
    default_host, default_port = DEFAULT_AUTH_EMULATOR.split(":")
    config = _read(folder / "firebase.json")
    host, port = (_member(config, "emulators", "auth", name) for name in ("host", "port"))
    # A server that listens at every address is called at this one.
    is_given = isinstance(host, str) and host not in ("0.0.0.0", "::", "localhost")  # noqa: S104 - it is compared only
    named = str(host) if is_given else default_host
    # An IPv6 address is in brackets before a port (RFC 3986, section 3.2.2).
    return f"{f'[{named}]' if ':' in named else named}:{port if isinstance(port, int) else default_port}"


def _read(path: Path) -> Any:
    """Return the JSON in a file; None if there is no such file, or if it is not JSON: the CLI will say so itself."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _member(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
