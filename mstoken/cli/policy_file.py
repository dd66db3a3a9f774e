"""The policy file, edited: its comments and layout stay, and what would make it wrong is not written."""

import copy
import os
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import tomlkit
import typer
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.items import AoT, Array, Comment, Null, Table, Whitespace

from mstoken.cli.failures import CommandError
from mstoken.errors import PolicyError
from mstoken.issuer.policy import Policy, ServicePolicy

USUAL_PATHS = (Path("functions/policy.toml"), Path("policy.toml"))

UNUSUAL = "The policy file was left as it is: it is laid out in an unusual way. Please edit it by hand."

PolicyOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        envvar="MSTOKEN_POLICY",
        metavar="FILE",
        help="The policy file; functions/policy.toml if there is one, else policy.toml.",
    ),
]


def policy_path(given: Path | None) -> Path:
    """The policy file: the one `given`, or else the first usual one that there is."""
    if given is not None:
        return given
    return next((path for path in USUAL_PATHS if path.exists()), USUAL_PATHS[-1])


class PolicyFile:
    """A policy file with no fault in it."""

    def __init__(self, path: Path) -> None:
        """Raises `PolicyError` where `path` is no such file."""
        self.path = path
        self.policy = Policy.load(path)
        self._text = path.read_bytes().decode("utf-8")

    def service(self, name: str) -> ServicePolicy:
        """What the policy says of a service. Raises `CommandError` where it has none of that name."""
        found = self.policy.services.get(name)
        if found is None:
            known = ", ".join(sorted(self.policy.services))
            raise CommandError(f"{self.path} has no service {name!r}; it has {known}.")
        return found

    def add_service(self, name: str, service_accounts: Sequence[str], calls: Sequence[str]) -> None:
        """Adds a service, behind all others. Raises `CommandError` and OSError; nothing is written then."""
        if name in self.policy.services:
            raise CommandError(f"{self.path} has a service {name!r} already.")
        table = tomlkit.table()
        table.add("service_accounts", list(service_accounts))
        table.add("calls", list(calls))

        def change(services: Any) -> None:
            services[name] = table if isinstance(services, Table) else copy.deepcopy(table.unwrap())

        self._edit(change)

    def add_key(self, service: str, jwk: Mapping[str, str], added: date) -> None:
        """Registers a key of a service, behind those that it has. Raises `CommandError` and OSError, as above."""
        self.service(service)
        members = ", ".join(f'{name} = "{value}"' for name, value in jwk.items())
        inline = tomlkit.value(f"{{ {members} }}")

        def change(services: Any) -> None:
            owner = _table(services, service)
            keys = owner.get("keys")
            key: Any = {"added": added, "jwk": dict(jwk)}
            if isinstance(keys, Array):
                key = tomlkit.inline_table().append("added", added).append("jwk", inline)
            elif isinstance(owner, Table):
                key = tomlkit.table().append("added", added).append("jwk", inline)
            if keys is not None and not isinstance(keys, AoT):
                keys.append(key)
            elif isinstance(owner, Table):
                # What stands between the last one and whatever follows belongs to what follows.
                last = owner if keys is None else keys[-1]
                between = _trailing(last)
                _put_back(last, [Whitespace("\n")])
                if keys is None:
                    keys = owner.append("keys", tomlkit.aot())["keys"]
                keys.append(key)
                _put_back(key, between)
            else:
                owner["keys"] = [key]

        self._edit(change)

    def remove_key(self, service: str, index: int) -> None:
        """Takes out the key of a service at `index`, from 0 on. Raises `CommandError` and OSError, as above."""

        def change(services: Any) -> None:
            keys = _table(services, service)["keys"]
            between = _trailing(keys[index]) if isinstance(keys, AoT) else []
            del keys[index]
            if not keys:
                del services[service]["keys"]
            if isinstance(keys, AoT):
                _close_gap(keys[index - 1] if index else services[service], keys, between)

        self._edit(change)

    def _edit(self, change: Callable[[Any], None]) -> None:
        """Makes a change to the table of services, and writes the file.

        The change is made twice, to the document with its layout and to what it says. Only where both come to the same
        is anything written: whatever tomlkit makes of an unusual layout, it never changes who may call whom.
        """
        wanted = tomllib.loads(self._text)
        change(wanted["services"])
        ends = "\r\n" if "\r\n" in self._text else "\n"
        document = tomlkit.parse(self._text.replace("\r\n", "\n"))
        change(document["services"])
        text = tomlkit.dumps(document).replace("\n", ends)
        try:
            self.policy = Policy.parse(text, str(self.path))
        except PolicyError as error:
            faults = "; ".join(sentence for _, sentence in error.faults)
            raise CommandError(f"{self.path} was left as it is, since it would be wrong: {faults}.") from None
        if tomllib.loads(text) != wanted:
            raise CommandError(UNUSUAL)
        _replace(self.path.resolve(), text.encode("utf-8"))
        self._text = text


def _table(services: Any, name: str) -> Any:
    """A service's table. Raises `CommandError` where it is in pieces, which tomlkit loses comments of."""
    table = services[name]
    if isinstance(table, OutOfOrderTableProxy):
        raise CommandError(UNUSUAL)
    return table


def _trailing(table: Any) -> list[Any]:
    """Takes the comments and empty lines off the end of a table; they are about what follows."""
    body = _last_body(table)
    taken: list[Any] = []
    while body and isinstance(body[-1][1], Whitespace | Comment):
        taken.insert(0, body.pop()[1])
    return taken


def _put_back(table: Any, between: Sequence[Any]) -> None:
    """Puts what `_trailing` took off behind the table that is the last one now."""
    _last_body(table).extend((None, item) for item in between)


def _last_body(table: Any) -> list[Any]:
    """What a table consists of, or the last of the tables in it: that is where the lines before the next one are."""
    body: list[Any] = table.value.body
    inner = body[-1][1] if body else None
    return _last_body(inner) if isinstance(inner, Table) else body


def _close_gap(before: Any, keys: AoT, between: list[Any]) -> None:
    """Joins what stands before and behind a key that was taken out; comments right above it went with it.

    `before` is the table before it: another key's, or the service's, which may have the other `keys` in it.
    """
    body = _last_body(before)
    end = next((index for index, (_, item) in enumerate(body) if item is keys), len(body))
    begin = end
    while begin and isinstance(body[begin - 1][1], Comment | Null):
        begin -= 1
    if between and begin and isinstance(body[begin - 1][1], Whitespace) and isinstance(between[0], Whitespace):
        between = between[1:]
    body[begin:end] = [(None, item) for item in between]


def _replace(path: Path, content: bytes) -> None:
    """Puts a new file in place of the one at `path`, at once and with the same permissions."""
    mode = path.stat().st_mode & 0o7777
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
