"""All commands together."""

from importlib.metadata import version
from typing import Annotated

import typer

from mstoken.cli import doctor, inspection, keys, policy, services, tokens
from mstoken.cli.failures import MEANINGS, Commands
from mstoken.cli.output import say

app = typer.Typer(
    cls=Commands,
    help="Service identities on Firebase: who may call whom, tokens to try out, and what is wrong.",
    epilog=MEANINGS,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    # A traceback is for a defect of ours, and must not show what its frames hold: tokens and keys.
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"mstoken {version('mstoken')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...


app.add_typer(services.app, name="services")
app.add_typer(keys.app, name="keys")
app.command("token")(tokens.token)
app.command("inspect", context_settings=inspection.CONTEXT_SETTINGS)(inspection.inspect)
app.add_typer(policy.app, name="policy")
app.command("doctor")(doctor.doctor)
