"""`mstoken services`: which services there are, and switching them off."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from mstoken.claims import service_name, service_uid
from mstoken.cli.failures import CommandError, Commands, explained
from mstoken.cli.identities import WORDS, Identities, State
from mstoken.cli.output import JsonOption, note, say, show_json, show_table
from mstoken.cli.policy_file import PolicyFile, PolicyOption, policy_path
from mstoken.issuer.policy import Policy
from mstoken.settings import Settings

DEPLOY = "Deploy the functions for it to count: firebase deploy --only functions"

app = typer.Typer(
    cls=Commands,
    help="Which services there are, and switching them off.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def valid_name(value: str) -> str:
    """`value`, if a service can have that name. Raises what Typer tells as a wrong argument."""
    try:
        return service_name(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


ServiceArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="SERVICE", callback=valid_name, help="The service's name, such as billing.")
]


@app.command("list")
def list_services(policy: PolicyOption = None, as_json: JsonOption = False) -> None:
    """List the policy's services, and the state of each.

    Where Firebase cannot be asked the state is unknown, and stderr says why; the list still comes.
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
            (name, _words(states[name]), _listed(one.calls), str(len(one.keys)), _listed(one.service_accounts))
            for name, one in services.items()
        ),
    )


@app.command()
def add(
    service: ServiceArgument,
    service_account: Annotated[
        list[str] | None,
        typer.Option("--service-account", metavar="EMAIL", help="A service account that it runs as; repeatable."),
    ] = None,
    calls: Annotated[
        list[str] | None, typer.Option("--calls", metavar="SERVICE", help="A service that it may call; repeatable.")
    ] = None,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a service to the policy file.

    Its comments and layout stay. Nothing is written where the policy would be wrong then: one that calls others
    needs a service account. A service outside Google Cloud has a key instead: add it without --calls, then "keys
    add", then its calls in the file.
    """
    file = PolicyFile(policy_path(policy))
    file.add_service(service, service_account or [], calls or [])
    if as_json:
        show_json({"name": service, "service_accounts": service_account or [], "calls": calls or []})
        return
    say(f"{service} is in {file.path}.")
    say(DEPLOY)


@app.command()
def disable(service: ServiceArgument, policy: PolicyOption = None, as_json: JsonOption = False) -> None:
    """Disable a service, everywhere within 10 s.

    Callees refuse it then, and it cannot sign in any more. One that has never signed in gets an identity that is
    disabled. Done twice, it changes nothing.
    """
    identities = Identities(Settings())
    if not identities.switch(service, disabled=True):
        _known(service, policy_path(policy))
        identities.create_disabled(service)
    _switched(identities, service, "disabled", as_json, "callees refuse it within 10 s")


@app.command()
def enable(service: ServiceArgument, policy: PolicyOption = None, as_json: JsonOption = False) -> None:
    """Enable a service that was disabled. Done twice, it changes nothing."""
    identities = Identities(Settings())
    if identities.switch(service, disabled=False):
        _switched(identities, service, "enabled", as_json, "callees let it in again within 10 s")
        return
    _known(service, policy_path(policy))
    _switched(identities, service, "absent", as_json, "there was nothing to enable")


def _states(services: Sequence[str]) -> dict[str, State]:
    """The state of each service's identity, unknown where nobody can tell; a note says why then."""
    try:
        return Identities(Settings()).states(services)
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        note(f"The state of the identities is not known. {told}")
    return dict.fromkeys(services, "unknown")


def _known(service: str, path: Path) -> None:
    """Raises for a service that has no identity, and no entry in the policy either: it may be a slip."""
    if service not in Policy.load(path).services:
        raise CommandError(f"There is no {service_uid(service)} in Firebase, and no {service!r} in {path}.")


def _switched(identities: Identities, service: str, state: State, as_json: bool, then: str) -> None:
    if as_json:
        show_json({"name": service, "project": identities.project_id, "uid": service_uid(service), "state": state})
        return
    say(f"{service_uid(service)} of {identities.project_id} is {_words(state)}: {then}.")


def _words(state: State) -> str:
    return WORDS.get(state, state)


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values) or "-"
