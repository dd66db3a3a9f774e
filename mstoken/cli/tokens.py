"""`mstoken token`: print a service token, for trying out a callee."""

from typing import Annotated

import typer

from mstoken.caller.identity import ServiceIdentity
from mstoken.cli.options import JsonOption, valid_service_name
from mstoken.cli.output import show_json
from mstoken.settings import Settings
from mstoken.wire import FRESH_TOKEN_MAX_AGE_SECONDS, ID_TOKEN_LIFETIME_SECONDS

EXAMPLE = """\b
Example:
  token=$(mstoken token --as billing --to product)
  curl -H "X-MS-TOKEN: $token" http://127.0.0.1:8002/products"""
"""For --help. Typer does not wrap a paragraph that begins with \\b."""


def token(
    audience: Annotated[
        str, typer.Option("--to", metavar="SERVICE", callback=valid_service_name, help="The service to call.")
    ],
    service: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="SERVICE",
            envvar="MSTOKEN_SERVICE",
            callback=valid_service_name,
            help="The service that calls.",
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Print a service token for one call within a minute.

    It is always a fresh token, also if MSTOKEN_MODE is "proof": a bound token is useless without a proof for each
    call, and only the process that holds the key can make one. Settings come from the environment, as for the service
    itself.
    """
    with ServiceIdentity(service, Settings()) as identity:
        text = identity.token_sync(audience, "fresh")
    if as_json:
        facts = {"token": text, "audience": audience, "service": service}
        show_json(facts | {"expires_in": ID_TOKEN_LIFETIME_SECONDS, "fresh_seconds": FRESH_TOKEN_MAX_AGE_SECONDS})
        return
    typer.echo(text)
