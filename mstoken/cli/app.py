"""All commands together."""

from importlib.metadata import version
from typing import Annotated

import typer

from mstoken.cli.doctor import doctor
from mstoken.cli.failures import MEANINGS, Commands
from mstoken.cli.inspection import CONTEXT_SETTINGS, inspect
from mstoken.cli.keys import app as keys
from mstoken.cli.output import say
from mstoken.cli.policy import app as policy
from mstoken.cli.services import app as services
from mstoken.cli.tokens import token

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


app.add_typer(services, name="services")
app.add_typer(keys, name="keys")
app.command("token")(token)
app.command("inspect", context_settings=CONTEXT_SETTINGS)(inspect)
app.add_typer(policy, name="policy")
app.command("doctor")(doctor)
