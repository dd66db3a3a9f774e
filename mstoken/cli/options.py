"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from mstoken.claims import service_name

USUAL_POLICY_PATHS = (Path("functions/policy.toml"), Path("policy.toml"))


def valid_service_name(value: str) -> str:
    """Return `value` if it can be the name of a service. Raise a usage error of the command line if not."""
    try:
        return service_name(value)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def policy_path(given: Path | None) -> Path:
    """Return the path of the policy file: `given`, or else the first of the usual paths that exists."""
    if given is not None:
        return given
    return next((path for path in USUAL_POLICY_PATHS if path.exists()), USUAL_POLICY_PATHS[-1])


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
