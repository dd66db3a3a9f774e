"""`mstoken keys`: the keys with which services outside Google Cloud prove who they are."""

import datetime
from pathlib import Path
from typing import Annotated

import typer

from mstoken.cli.failures import CommandError, Commands
from mstoken.cli.key_files import Kind, new_key, read_public, registered, write_private
from mstoken.cli.output import JsonOption, say, show_json, show_table
from mstoken.cli.policy_file import PolicyFile, PolicyOption, policy_path
from mstoken.cli.services import DEPLOY, ServiceArgument, valid_name
from mstoken.jwk import public_jwk

SHORTEST_PREFIX_CHARACTERS = 6
FILE_NAME_CHARACTERS = 8

app = typer.Typer(
    cls=Commands,
    help="Keys of services outside Google Cloud.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def add(
    service: ServiceArgument,
    kind: Annotated[Kind | None, typer.Option(help="What the key signs with; ES256 if left out.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where the private key goes: a new file; <service>-<key id>.pem if left out."
        ),
    ] = None,
    public: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Make no key, but register this public one: a file in PEM, or a JWK."),
    ] = None,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key for a service, and register it.

    Its public half goes into the policy file. The private key goes into a new file that only you can read, and
    nowhere else. Nothing is left of it where the policy cannot be written.
    """
    if public is not None and (kind is not None or out is not None):
        raise typer.BadParameter("--public goes with neither --kind nor --out: there is no key to make.")
    file = PolicyFile(policy_path(policy))
    private_file = None
    if public is not None:
        jwk = read_public(public)
        _register(file, service, jwk)
    else:
        private = new_key(kind or Kind.ES256)
        jwk = public_jwk(private.public_key())
        private_file = out or Path(f"{service}-{registered(jwk).key_id[:FILE_NAME_CHARACTERS]}.pem")
        write_private(private_file, private)
        try:
            _register(file, service, jwk)
        except BaseException:
            private_file.unlink(missing_ok=True)
            raise
    key = registered(jwk)
    if as_json:
        described = {"service": service, "key_id": key.key_id, "algorithm": key.algorithm}
        show_json(described | {"private_key_file": None if private_file is None else str(private_file)})
        return
    say(f"{key.key_id} is a key of {service} in {file.path}.")
    if private_file is not None:
        say(f"Give the service its private half, and nobody else: MSTOKEN_PRIVATE_KEY_FILE={private_file}")
    say(DEPLOY)


@app.command("list")
def list_keys(
    service: Annotated[str | None, typer.Argument(metavar="SERVICE", help="Only the keys of this service.")] = None,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the registered keys."""
    file = PolicyFile(policy_path(policy))
    services = file.policy.services if service is None else {service: file.service(valid_name(service))}
    keys = [(name, key) for name, one in services.items() for key in one.keys]
    if as_json:
        described = [
            {
                "service": name,
                "key_id": key.key_id,
                "algorithm": key.algorithm,
                "added": key.added.isoformat() if key.added else None,
            }
            for name, key in keys
        ]
        show_json({"keys": described})
        return
    if not keys:
        say("There are no registered keys.")
        return
    show_table(
        ("SERVICE", "KEY ID", "KIND", "ADDED"),
        ((name, key.key_id, key.algorithm, key.added.isoformat() if key.added else "-") for name, key in keys),
    )


# An id may begin with "-", and is no option then.
@app.command(context_settings={"ignore_unknown_options": True})
def revoke(
    service: ServiceArgument,
    key_id: Annotated[
        str, typer.Argument(help=f"The key's id, or its beginning: {SHORTEST_PREFIX_CHARACTERS} characters or more.")
    ],
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a key out of the policy file.

    Nothing is written where it is the only way in which a service that calls others can prove who it is. To stop a
    service at once, "services disable" it.
    """
    if len(key_id) < SHORTEST_PREFIX_CHARACTERS:
        raise typer.BadParameter(f"{SHORTEST_PREFIX_CHARACTERS} characters of the key's id are wanted, or more.")
    file = PolicyFile(policy_path(policy))
    keys = file.service(service).keys
    found = [index for index, key in enumerate(keys) if key.key_id.startswith(key_id)]
    if len(found) != 1:
        number = "no key" if not found else f"{len(found)} keys"
        raise CommandError(f"{service} has {number} whose id begins with {key_id!r}.")
    revoked = keys[found[0]].key_id
    file.remove_key(service, found[0])
    if as_json:
        show_json({"service": service, "key_id": revoked})
        return
    say(f"{revoked} is no key of {service} in {file.path} any more.")
    say(DEPLOY)


def _register(file: PolicyFile, service: str, jwk: dict[str, str]) -> None:
    file.add_key(service, jwk, datetime.date.today())
