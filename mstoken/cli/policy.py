"""`mstoken policy`: check the policy file."""

from pathlib import Path
from typing import Annotated

import typer

from mstoken.cli.errors import FAILED, CommandGroup
from mstoken.cli.options import JsonOption, PolicyOption, policy_path
from mstoken.cli.output import say, show_json
from mstoken.errors import PolicyError
from mstoken.issuer.policy import Policy

app = typer.Typer(
    cls=CommandGroup,
    help="Check the policy, which says which service may call which.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The policy file, as with --policy.")] = None,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the policy file, and report every error in it."""
    path = policy_path(file or policy)
    try:
        services = Policy.load(path).services
    except PolicyError as error:
        if as_json:
            errors = [{"place": place, "text": text} for place, text in error.errors]
            show_json({"file": str(path), "ok": False, "errors": errors})
        else:
            say(str(error))
        raise typer.Exit(FAILED) from None
    accounts, keys, calls = (
        sum(len(getattr(service, field)) for service in services.values())
        for field in ("service_accounts", "keys", "calls")
    )
    counts = {"services": len(services), "service_accounts": accounts, "keys": keys, "calls": calls}
    if as_json:
        show_json({"file": str(path), "ok": True} | counts)
        return
    counted = ", ".join(f"{name.replace('_', ' ')}: {number}" for name, number in counts.items())
    say(f"{path} is valid ({counted}).")
