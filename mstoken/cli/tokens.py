"""`mstoken token`: a service token, to try a callee out with."""

from typing import Annotated

import typer

from mstoken.caller.identity import ServiceIdentity
from mstoken.cli.output import JsonOption, show_json
from mstoken.cli.services import valid_name
from mstoken.settings import Settings
from mstoken.wire import FRESH_TOKEN_MAX_AGE_SECONDS, ID_TOKEN_LIFETIME_SECONDS


def token(
    audience: Annotated[
        str, typer.Option("--to", metavar="SERVICE", callback=valid_name, help="Whom to call with it.")
    ],
    service: Annotated[
        str,
        typer.Option("--as", metavar="SERVICE", envvar="MSTOKEN_SERVICE", callback=valid_name, help="Who calls."),
    ],
    as_json: JsonOption = False,
) -> None:
    r"""Print a service token, for one call within a minute.

    \b
    curl -H "X-MS-TOKEN: $(mstoken token --to product --as billing)" http://127.0.0.1:8002/products

    It is a fresh one in whatever mode the service calls: a bound token is worth nothing without a proof for each call,
    which only the process can make that has the key. Settings come from the environment, as for the service itself.
    """
    with ServiceIdentity(service, Settings()) as identity:
        text = identity.token_sync(audience, "fresh")
    if as_json:
        facts = {"token": text, "audience": audience, "service": service}
        show_json(facts | {"expires_in": ID_TOKEN_LIFETIME_SECONDS, "fresh_seconds": FRESH_TOKEN_MAX_AGE_SECONDS})
        return
    typer.echo(text)
