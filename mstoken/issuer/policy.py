"""The policy of the token service: which services there are, how each proves who it is, and whom each may call.

    [services.billing]
    service_accounts = ["billing@demo-shop.iam.gserviceaccount.com"]
    calls = ["product", "user", "delivery"]

    [[services.warehouse.keys]]
    added = 2026-11-24
    jwk = { kty = "EC", crv = "P-256", x = "...", y = "..." }

It is a TOML file, and reviewed like code. Nothing in it is passed over: what is not known is a fault, every fault is
reported, and each with its line.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

from pydantic import AfterValidator, ValidationError, model_validator
from pydantic_core import ErrorDetails

from mstoken.claims import service_name
from mstoken.errors import PolicyError
from mstoken.issuer.keys import Ed25519Jwk, P256Jwk, RegisteredKey, Table
from mstoken.issuer.lines import TomlPath, line_of

_SERVICE_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9.-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.gserviceaccount\.com")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TOML_POSITION = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")


def _service_account(email: str) -> str:
    if not _SERVICE_ACCOUNT.fullmatch(email):
        raise ValueError(
            f"{email!r} is no service account: one in small letters is wanted, such as "
            "billing@demo-shop.iam.gserviceaccount.com; people and groups cannot call"
        )
    return email


_ServiceAccount: TypeAlias = Annotated[str, AfterValidator(_service_account)]


class ServicePolicy(Table):
    """One service: the service accounts that it runs as, its registered keys, and the services that it may call."""

    service_accounts: tuple[_ServiceAccount, ...] = ()
    keys: tuple[RegisteredKey, ...] = ()
    calls: tuple[str, ...] = ()


class Policy(Table):
    """Who may call whom. There is no policy with a fault: no account or key is that of two services, for one."""

    services: Mapping[str, ServicePolicy]

    @model_validator(mode="after")
    def _services_go_together(self) -> "Policy":
        tables = {name: vars(service) for name, service in self.services.items()}
        if faults := [f"{_written(fault.path)}: {fault.sentence}" for fault in _faults_among(tables)]:
            raise ValueError("; ".join(faults))
        return self

    @classmethod
    def load(cls, path: Path) -> "Policy":
        """The policy in the file `path`. Raises `PolicyError`, also where there is no such file, or it is not UTF-8."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise PolicyError(str(path), [(None, f"it cannot be read: {error.strerror}")]) from None
        return cls.parse(content.decode("utf-8", "surrogateescape"), str(path))

    @classmethod
    def parse(cls, text: str, name: str) -> "Policy":
        """The policy in `text`, which is TOML. Raises `PolicyError` for a file `name`, with all faults and their lines.

        A fault in the syntax hides the others; a private key is named, and nothing of it repeated.
        """
        try:
            policy, faults = cls._read(text)
        except RecursionError:
            raise PolicyError(name, [(None, "it is nested too deeply")]) from None
        if policy is None:
            raise PolicyError(name, sorted(faults, key=lambda fault: (fault[0] is None, fault[0] or 0)))
        return policy

    @classmethod
    def _read(cls, text: str) -> tuple["Policy | None", list[tuple[int | None, str]]]:
        """The policy in `text`, or the lines and sentences of its faults. Raises RecursionError for deep nesting."""
        try:
            text.encode("utf-8")
            document = tomllib.loads(text)
        except UnicodeEncodeError as error:
            return None, [(text.count("\n", 0, error.start) + 1, "this is not UTF-8")]
        except ValueError as error:  # A number of thousands of digits is a ValueError, but no TOMLDecodeError.
            return None, [_syntax_fault(str(error), text)]
        try:
            return cls.model_validate(document), []
        except ValidationError as error:
            # One that concerns no place in particular is of services that do not go together; here are their places.
            faults = [_fault(one) for one in error.errors(include_input=False, include_url=False) if one["loc"]]
        faults += _faults_among(document.get("services"))
        return None, [(line_of(text, fault.path), f"{_written(fault.path)}: {fault.sentence}") for fault in faults]

    def service_of_account(self, email: str) -> str | None:
        """The service that runs as the service account `email`, if there is one."""
        return next((name for name, service in self.services.items() if email in service.service_accounts), None)

    def keys_of(self, service: str) -> Sequence[RegisteredKey]:
        """The keys that `service` may sign with; none if there is no such service."""
        found = self.services.get(service)
        return found.keys if found else ()

    def allows(self, service: str, audience: str) -> bool:
        """Whether `service` may call `audience`."""
        found = self.services.get(service)
        return found is not None and audience in found.calls


class _Fault(NamedTuple):
    """What is wrong with the value that `path` leads to, or ought to."""

    path: TomlPath
    sentence: str


def _faults_among(services: object) -> Iterator[_Fault]:
    """What no service's table can tell by itself: its name, and what it has to do with the others.

    Takes the tables as they stand in the file, and passes over what is of another kind than it ought to be: that is
    found elsewhere, and hides nothing of this.
    """
    if not isinstance(services, Mapping):
        return
    if not services:
        yield _Fault(("services",), "there is none, so nobody could have a token")
    owners: dict[str, str] = {}
    for name, table in services.items():
        place = ("services", name)
        try:
            service_name(name)
        except ValueError as error:
            yield _Fault(place, str(error))
        if not isinstance(table, Mapping):
            continue
        for path, identity, words in _identities(table):
            if identity not in owners:
                owners[identity] = name
            elif owners[identity] == name:
                yield _Fault((*place, *path), f"{words} stands here twice")
            else:
                yield _Fault((*place, *path), f"{words} is that of {owners[identity]!r} already")
        yield from _call_faults(name, table, services)


def _identities(table: Mapping[str, Any]) -> Iterator[tuple[TomlPath, str, str]]:
    """What a service proves who it is with: where it stands, what no other may have, and how to speak of it."""
    for index, account in enumerate(_items(table, "service_accounts")):
        if isinstance(account, str):
            yield ("service_accounts", index), account, repr(account)
    for index, key in enumerate(_items(table, "keys")):
        with suppress(ValidationError):
            yield ("keys", index), RegisteredKey.model_validate(key).key_id, "this key"


def _call_faults(name: str, table: Mapping[str, Any], services: Mapping[str, Any]) -> Iterator[_Fault]:
    """What is wrong with the calls of the service `name`."""
    calls = _items(table, "calls")
    if calls and not table.get("service_accounts") and not table.get("keys"):
        yield _Fault(
            ("services", name), "it calls others, and has neither service_accounts nor keys to prove who it is"
        )
    for index, audience in enumerate(calls):
        place = ("services", name, "calls", index)
        if audience == name:
            yield _Fault(place, "a service does not call itself")
        elif isinstance(audience, str) and audience not in services:
            alike = difflib.get_close_matches(audience, services, n=1)
            meant = f" (did you mean {alike[0]!r}?)" if alike else ""
            yield _Fault(place, f"{audience!r} is no service of this file{meant}")


def _items(table: Mapping[str, Any], field: str) -> Sequence[Any]:
    items = table.get(field)
    return items if isinstance(items, list | tuple) else ()


_SENTENCES = {
    "missing": "it is missing",
    "dict_type": "a table is wanted",
    "model_type": "a table is wanted",
    "model_attributes_type": "a table is wanted",
    "tuple_type": "a list is wanted",
    "string_type": "a text is wanted",
    "date_type": "a date is wanted, such as 2026-11-24",
    "union_tag_not_found": "it has no kty",
    "union_tag_invalid": "a key of the kty 'EC' or 'OKP' is wanted",
}
"""What is said for pydantic's types of errors. Types are stable, and texts are not."""


def _fault(error: ErrorDetails) -> _Fault:
    """One of pydantic's errors, in our words."""
    place, kind = error["loc"], error["type"]
    path = (*place[:5], *place[6:])  # Behind `jwk` pydantic has the kty of the key that it read.
    if kind == "extra_forbidden":
        return _Fault(path, f"this is not known here; known are {', '.join(sorted(_table_of(place).model_fields))}")
    if kind == "literal_error":
        return _Fault(path, f"{error['ctx']['expected']} is wanted")
    return _Fault(path, _SENTENCES.get(kind) or error["msg"].removeprefix("Value error, "))


def _table_of(place: TomlPath) -> type[Table]:
    """The table that a key at `place`, as pydantic has it, was found in."""
    outer: Mapping[int, type[Table]] = {1: Policy, 3: ServicePolicy, 5: RegisteredKey}
    return outer.get(len(place)) or (P256Jwk if place[5] == "EC" else Ed25519Jwk)


def _syntax_fault(message: str, text: str) -> tuple[int | None, str]:
    """Line and sentence of what `tomllib` says of a text that is no TOML; it has the line in its message."""
    found = _TOML_POSITION.search(message)
    if found is None:
        return None, f"this is not TOML: {message}"
    line = int(found["line"] or text.rstrip("\n").count("\n") + 1)
    return line, f"this is not TOML: {message[: found.start()]}"


def _written(path: TomlPath) -> str:
    """A path as a person writes it: keys and indices with dots between them, unusual keys in quotes."""
    return ".".join(str(step) if _BARE_KEY.fullmatch(str(step)) else repr(step) for step in path)
