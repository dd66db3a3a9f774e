"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from mstoken.claims import service_name
from mstoken.cli.errors import CommandError

USUAL_POLICY_PATHS = (Path("functions/policy.toml"), Path("policy.toml"))


def valid_service_name(value: str) -> str:
    """Return `value` if it can be the name of a service. Raise a usage error of the command line if not."""
    try:
        return service_name(value)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def policy_path(given: Path | None) -> Path:
    """Return the path of the policy file: `given`, or else the first of the usual paths that exists.

    Raise `CommandError` if none is given and none of them exists.
    """
    if given is not None:
        return given
    found = next((path for path in USUAL_POLICY_PATHS if path.exists()), None)
    if found is None:
        usual = " nor ".join(str(path) for path in USUAL_POLICY_PATHS)
        raise CommandError(f"There is neither {usual} in this folder. Name the policy file with --policy.")
    return found


JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]

PolicyOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        envvar="MSTOKEN_POLICY",
        metavar="FILE",
        help="The policy file. Default: functions/policy.toml if it exists, else policy.toml.",
    ),
]

ServiceArgument: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="SERVICE", callback=valid_service_name, help="The name of the service, such as billing."),
]
