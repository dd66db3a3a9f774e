"""`mstoken keys`: the keys with which services outside Google Cloud prove who they are."""

import datetime
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric import ec

from mstoken.cli.errors import CommandError, CommandGroup
from mstoken.cli.key_files import read_public_key, write_private_key
from mstoken.cli.options import JsonOption, PolicyOption, ServiceArgument, policy_path, valid_service_name
from mstoken.cli.output import note, say, show_json, show_table
from mstoken.issuer.keys import RegisteredKey
from mstoken.issuer.policy import Policy
from mstoken.jwk import public_jwk

FILE_NAME_CHARACTERS = 8
"""How much of the key id the usual name of a private key file contains."""

app = typer.Typer(
    cls=CommandGroup,
    help="Create and list the keys of services outside Google Cloud.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def add(
    service: ServiceArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The new file for the private key. Default: <service>-<start of the key id>.pem."
        ),
    ] = None,
    public: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Do not create a key: use the public key in this file (PEM or JWK)."),
    ] = None,
    expires: Annotated[
        datetime.datetime | None,
        typer.Option(
            metavar="DATE",
            formats=["%Y-%m-%d"],
            help="The first day (UTC) on which the key is not accepted any more. Default: it is accepted until you "
            "delete it.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key for a service, and print what to add to the policy.

    The private key goes into a new file that only you can read. The command does not change the policy file: add the
    printed lines to it, have the change reviewed, and deploy the functions.
    """
    if public is not None and out is not None:
        raise typer.BadParameter("--out has no use with --public, which creates no private key.")
    today = datetime.datetime.now(datetime.UTC).date()
    if expires is not None and expires.date() <= today:
        raise typer.BadParameter("--expires must be a date after today.")
    private_key_file = None
    if public is not None:
        key = read_public_key(public)
    else:
        private_key = ec.generate_private_key(ec.SECP256R1())
        key = RegisteredKey.model_validate({"jwk": public_jwk(private_key.public_key())})
        private_key_file = out or Path(f"{service}-{key.key_id[:FILE_NAME_CHARACTERS]}.pem")
        write_private_key(private_key_file, private_key)
    toml = policy_lines(service, key, today, expires.date() if expires else None)
    if as_json:
        file_name = None if private_key_file is None else str(private_key_file)
        show_json({"service": service, "key_id": key.key_id, "private_key_file": file_name, "policy_toml": toml})
        return
    if private_key_file is not None:
        note(f"The private key is in {private_key_file}. Give it to {service} only, as MSTOKEN_PRIVATE_KEY_FILE.")
    note("Add these lines to the policy, then deploy it: firebase deploy --only functions")
    say(toml)


@app.command("list")
def list_keys(
    service: Annotated[
        str | None, typer.Argument(metavar="SERVICE", help="List only the keys of this service.")
    ] = None,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the registered keys, and where each one is in the policy.

    To revoke a key, delete its table from the policy and deploy the functions.
    """
    path = policy_path(policy)
    services = Policy.load(path).services
    if service is not None and valid_service_name(service) not in services:
        raise CommandError(f"{path} has no service {service!r}. It has: {', '.join(sorted(services))}.")
    keys = [
        (name, f"services.{name}.keys[{index}]", key)
        for name, table in services.items()
        if service in (None, name)
        for index, key in enumerate(table.keys)
    ]
    if as_json:
        described = [
            {
                "service": name,
                "key_id": key.key_id,
                "added": _date(key.added),
                "expires": _date(key.expires),
                "place": place,
            }
            for name, place, key in keys
        ]
        show_json({"keys": described})
        return
    if not keys:
        say("There are no registered keys.")
        return
    show_table(
        ("SERVICE", "KEY ID", "ADDED", "EXPIRES", "PLACE"),
        ((name, key.key_id, _date(key.added) or "-", _date(key.expires) or "-", place) for name, place, key in keys),
    )


def policy_lines(service: str, key: RegisteredKey, added: datetime.date, expires: datetime.date | None = None) -> str:
    """Return the TOML that registers `key` for `service`. The comment names the key as logs do."""
    members = ", ".join(f'{name} = "{value}"' for name, value in key.public_members.items())
    lines = [f"[[services.{service}.keys]]  # {key.key_id}", f"added = {added.isoformat()}"]
    if expires is not None:
        lines.append(f"expires = {expires.isoformat()}")
    return "\n".join([*lines, f"jwk = {{ {members} }}"])


def _date(date: datetime.date | None) -> str | None:
    return None if date is None else date.isoformat()
