"""`mstoken policy`: check the policy file."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from mstoken.cli.errors import FAILED, CommandGroup
from mstoken.cli.options import JsonOption, PolicyOption, policy_path
from mstoken.cli.output import say, show_json
from mstoken.errors import PolicyError
from mstoken.issuer.policy import Policy, ServicePolicy

EXPIRY_WARNING_SECONDS = 30 * 86_400
"""How long before a registered key expires there is a warning, in seconds."""

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
    """Check the policy file, and report every error in it.

    A registered key that has expired, or expires within 30 days, is a warning: the exit status is 0.
    """
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
    warnings = list(_warnings(services, time.time()))
    if as_json:
        described = [{"place": place, "text": text} for place, text in warnings]
        show_json({"file": str(path), "ok": True} | counts | {"warnings": described})
        return
    counted = ", ".join(f"{name.replace('_', ' ')}: {number}" for name, number in counts.items())
    say(f"{path} is valid ({counted}).")
    for place, text in warnings:
        say(f"{path}: {place}: warning: {text}")


def _warnings(services: Mapping[str, ServicePolicy], now: float) -> Iterator[tuple[str, str]]:
    """Yield the place of each key that has expired or expires soon, and a sentence.

    `now` is in seconds since the epoch.
    """
    for name, service in services.items():
        for index, key in enumerate(service.keys):
            place = f"services.{name}.keys[{index}]"
            if key.has_expired(now):
                yield place, f"this key expired on {key.expires}, so it is not accepted. Delete its table."
            elif key.has_expired(now + EXPIRY_WARNING_SECONDS):
                yield place, f"this key expires on {key.expires}. Replace it before: mstoken keys add {name}"
