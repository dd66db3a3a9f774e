"""`mstoken services`: list the services of the policy, and disable or enable their identities."""

from collections.abc import Sequence
from pathlib import Path

import typer

from mstoken.claims import service_uid
from mstoken.cli.errors import CommandError, CommandGroup, as_command_error
from mstoken.cli.identities import Identities, IdentityState
from mstoken.cli.options import JsonOption, PolicyOption, ServiceArgument, policy_path
from mstoken.cli.output import note, say, show_json, show_table
from mstoken.issuer.policy import Policy
from mstoken.settings import Settings

STATE_TEXTS: dict[IdentityState, str] = {"absent": "never signed in"}
"""What the table shows for a state; other states are shown by their own names."""

app = typer.Typer(
    cls=CommandGroup,
    help="List services, and disable or enable them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_services(policy: PolicyOption = None, as_json: JsonOption = False) -> None:
    """List the services of the policy, and the state of each.

    If Firebase does not answer, the states are "unknown" and stderr says why.
    """
    services = Policy.load(policy_path(policy)).services
    states = _states(list(services))
    if as_json:
        described = [
            {
                "name": name,
                "service_accounts": list(service.service_accounts),
                "keys": [key.key_id for key in service.keys],
                "calls": list(service.calls),
                "identity": {"uid": service_uid(name), "state": states[name]},
            }
            for name, service in services.items()
        ]
        show_json({"services": described})
        return
    show_table(
        ("SERVICE", "IDENTITY", "CALLS", "KEYS", "SERVICE ACCOUNTS"),
        (
            (
                name,
                STATE_TEXTS.get(states[name], states[name]),
                _joined(service.calls),
                str(len(service.keys)),
                _joined(service.service_accounts),
            )
            for name, service in services.items()
        ),
    )


@app.command()
def disable(service: ServiceArgument, policy: PolicyOption = None, as_json: JsonOption = False) -> None:
    """Disable a service everywhere within 10 s.

    Callees refuse its calls, the token service issues no tokens to it, and it cannot sign in any more. If it has never
    signed in, a disabled identity is created for it. It is safe to run this command again.
    """
    identities = Identities(Settings())
    if not identities.disable(service):
        _check_is_in_policy(service, policy_path(policy))
        identities.create_disabled(service)
    _report(identities, service, "disabled", "is disabled. Callees refuse its calls within 10 s.", as_json)


@app.command()
def enable(service: ServiceArgument, policy: PolicyOption = None, as_json: JsonOption = False) -> None:
    """Enable a service, and revoke its earlier tokens.

    Nothing that was minted before counts any more, so a service that runs signs in again. If it was enabled already,
    this command only revokes its tokens.
    """
    identities = Identities(Settings())
    if identities.enable(service):
        _report(identities, service, "enabled", "is enabled. Callees accept its calls within 10 s.", as_json)
        return
    _check_is_in_policy(service, policy_path(policy))
    _report(identities, service, "absent", "has never signed in, so it was not disabled.", as_json)


def _states(services: Sequence[str]) -> dict[str, IdentityState]:
    """Return the state of each service's identity. If it cannot be known, print a note and return "unknown"."""
    try:
        return Identities(Settings()).states(services)
    except Exception as error:
        command_error = as_command_error(error)
        if command_error is None:
            raise
        note(f"The state of the identities is unknown. {command_error}")
    return dict.fromkeys(services, "unknown")


def _check_is_in_policy(service: str, path: Path) -> None:
    """Raise `CommandError` unless the policy has the service. Otherwise a typing error would create an identity."""
    if service not in Policy.load(path).services:
        raise CommandError(
            f"Firebase has no user {service_uid(service)}, and {path} has no service {service!r}. Check the name."
        )


def _report(identities: Identities, service: str, state: IdentityState, text: str, as_json: bool) -> None:
    if as_json:
        show_json({"name": service, "project": identities.project_id, "uid": service_uid(service), "state": state})
        return
    say(f"{service_uid(service)} in the project {identities.project_id} {text}")


def _joined(values: Sequence[str]) -> str:
    return ", ".join(values) or "-"
