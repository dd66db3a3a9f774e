"""The command `mstoken`, with all its commands."""

from importlib.metadata import version
from typing import Annotated

import typer

from mstoken.cli import emulator
from mstoken.cli.doctor import doctor
from mstoken.cli.errors import EXIT_STATUSES, CommandGroup
from mstoken.cli.inspection import CONTEXT_SETTINGS, inspect
from mstoken.cli.keys import app as keys
from mstoken.cli.output import say
from mstoken.cli.policy import app as policy
from mstoken.cli.services import app as services
from mstoken.cli.tokens import EXAMPLE, token
from mstoken.cli.users import app as users

app = typer.Typer(
    cls=CommandGroup,
    help="Service identities on Firebase: manage them, try out tokens, and find errors in the setup.",
    epilog=EXIT_STATUSES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    # Typer's own tracebacks show local variables, which may hold tokens and keys.
    pretty_exceptions_enable=False,
)


def _print_version(requested: bool) -> None:
    if requested:
        say(f"mstoken {version('mstoken')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None: ...


app.command("token", epilog=EXAMPLE)(token)
app.command("inspect", context_settings=CONTEXT_SETTINGS)(inspect)
app.command("doctor")(doctor)
app.command("emulator", epilog=emulator.EXAMPLE, context_settings=emulator.CONTEXT_SETTINGS)(emulator.emulator)
app.add_typer(services, name="services")
app.add_typer(keys, name="keys")
app.add_typer(policy, name="policy")
app.add_typer(users, name="users")
