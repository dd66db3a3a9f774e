"""`mstoken users`: give a role to a user, or take it away."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from mstoken.cli.errors import CommandError, CommandGroup, as_command_error
from mstoken.cli.options import JsonOption
from mstoken.cli.output import say, show_json
from mstoken.cli.user_accounts import AdminUserAccounts, UserAccount, UserAccounts
from mstoken.settings import Settings
from mstoken.wire import UID_PREFIX

ROLE_CLAIM = "role"
"""The custom claim that `allow(users={…})` reads."""

_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

app = typer.Typer(
    cls=CommandGroup,
    help="Show, give and remove the roles of users.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@dataclass(frozen=True, slots=True)
class RoleChange:
    """The roles of a user before and after a change, None for no role. `sessions_ended` says if it ended sessions."""

    before: str | None
    after: str | None
    sessions_ended: bool


@app.callback()
def _users() -> None: ...


@app.command()
def role(
    user: Annotated[str, typer.Argument(metavar="USER", help="The e-mail address or the uid of the user.")],
    new_role: Annotated[
        str | None, typer.Option("--set", metavar="ROLE", help="The role to give, such as admin.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the role.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the role of a user, or change it.

    A role that is removed or replaced stops counting everywhere within 10 s: the user's sessions are revoked, so the
    user has to log in again. A role that is given to a user without one counts from the next log-in or refresh on.
    Other custom claims of the user stay. It is safe to run this command again.
    """
    if new_role is not None and remove:
        raise typer.BadParameter("--set and --remove exclude each other.")
    if new_role is not None and not _ROLE.fullmatch(new_role):
        raise typer.BadParameter("a role has 1 to 64 letters, digits, dots, hyphens and underscores.")
    settings = Settings()
    accounts = AdminUserAccounts(settings)
    account = find_user(accounts, user, settings.project_id)
    if new_role is None and not remove:
        change = RoleChange(role_of(account), role_of(account), sessions_ended=False)
    else:
        change = change_role(accounts, account, new_role)
    if as_json:
        facts = {"uid": account.uid, "email": account.email, "project": settings.project_id}
        show_json(facts | {"role": change.after, "role_before": change.before, "sessions_ended": change.sessions_ended})
        return
    say(f"{_name(account)} in the project {settings.project_id} {_describe(change)}")


def find_user(accounts: UserAccounts, user: str, project: str) -> UserAccount:
    """Return the account of `user`, an e-mail address if it has an @, or else a uid.

    Raises `CommandError` if there is none, or if it is a service identity.
    """
    account = accounts.get_by_email(user) if "@" in user else accounts.get(user)
    if account is None:
        raise CommandError(f"The project {project} has no user {user}. Check the e-mail address or the uid.")
    if account.uid.startswith(UID_PREFIX):
        raise CommandError(f"{account.uid} is a service identity. Roles are for users; the policy is for services.")
    return account


def role_of(account: UserAccount) -> str | None:
    """Return the role of a user, as callees see it: a claim that is not text does not count."""
    found = account.claims.get(ROLE_CLAIM)
    return found if isinstance(found, str) else None


def change_role(
    accounts: UserAccounts,
    account: UserAccount,
    new_role: str | None,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> RoleChange:
    """Set the role of a user, or remove it if `new_role` is None.

    First the claim is changed, so that no new token has the old role. Then the sessions are revoked, so that no old
    token is accepted. In the other order a log-in between the two steps would keep the role. Sessions are revoked also
    if the claim is as it should be already, because an earlier run may have failed after its first step. They are not
    revoked if the user had no role: no token is worth more than it should be.

    Firebase counts sessions in whole seconds, and accepts a log-in of the second in which they were revoked. So this
    waits until the second of the first step is over. `clock` returns seconds since the epoch, `sleep` takes seconds.

    Raises `CommandError` if the second step failed, and what `accounts` raises if the first one did.
    """
    before = role_of(account)
    claims = {name: value for name, value in account.claims.items() if name != ROLE_CLAIM}
    if new_role is not None:
        claims[ROLE_CLAIM] = new_role
    if claims != account.claims:
        accounts.set_claims(account.uid, claims)
    if before is None and new_role is not None:
        return RoleChange(before, new_role, sessions_ended=False)
    try:
        _end_sessions(accounts, account, clock, sleep)
    except Exception as error:
        command_error = as_command_error(error)
        if command_error is None:
            raise
        raise CommandError(
            f"The role of {_name(account)} was changed, but the sessions were not revoked: tokens with the old role "
            f"are accepted for up to an hour. Run this command again. {command_error}",
            command_error.status,
        ) from error
    return RoleChange(before, new_role, sessions_ended=True)


def _end_sessions(
    accounts: UserAccounts, account: UserAccount, clock: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    """End the sessions that began up to now, by the clock of this machine and by that of Firebase."""
    present = accounts.get(account.uid)
    last_sign_in = 0 if present is None else present.last_sign_in
    valid_since = max(int(clock()), last_sign_in) + 1
    while (remaining := valid_since - clock()) > 0:
        sleep(remaining)
    accounts.end_sessions(account.uid, valid_since)


def _name(account: UserAccount) -> str:
    return account.uid if account.email is None else f"{account.email} ({account.uid})"


def _describe(change: RoleChange) -> str:
    if change.sessions_ended:
        now = "has no role now" if change.after is None else f"has the role {change.after} now"
        return f"{now}. Tokens from before are refused within 10 s."
    if change.before == change.after:
        return "has no role." if change.after is None else f"has the role {change.after}."
    return f"has the role {change.after} from the next log-in or refresh on."
