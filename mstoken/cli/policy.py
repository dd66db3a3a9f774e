"""`mstoken policy`: whether the policy file is as it should be."""

from pathlib import Path
from typing import Annotated

import typer

from mstoken.cli.failures import NO, Commands
from mstoken.cli.output import JsonOption, say, show_json
from mstoken.cli.policy_file import PolicyOption, policy_path
from mstoken.errors import PolicyError
from mstoken.issuer.policy import Policy

app = typer.Typer(cls=Commands, help="The policy: who may call whom.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The same as --policy FILE.")] = None,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the policy file, and show all its faults with their lines."""
    path = policy_path(file or policy)
    try:
        services = Policy.load(path).services
    except PolicyError as error:
        if as_json:
            faults = [{"line": line, "fault": sentence} for line, sentence in error.faults]
            show_json({"file": str(path), "ok": False, "faults": faults})
        else:
            say(str(error))
        raise typer.Exit(NO) from None
    accounts, keys, calls = (
        sum(len(getattr(service, field)) for service in services.values())
        for field in ("service_accounts", "keys", "calls")
    )
    counts = {"services": len(services), "service_accounts": accounts, "keys": keys, "calls": calls}
    if as_json:
        show_json({"file": str(path), "ok": True} | counts)
        return
    counted = ", ".join(f"{name.replace('_', ' ')}: {number}" for name, number in counts.items())
    say(f"{path} is fine ({counted}).")
