"""The policy of the token service: which services there are, how each proves who it is, and which ones it may call.

    [services.billing]
    service_accounts = ["billing@demo-shop.iam.gserviceaccount.com"]
    calls = ["product", "user", "delivery"]

    [[services.warehouse.keys]]
    added = 2026-11-24
    expires = 2027-11-24
    jwk = { kty = "EC", crv = "P-256", x = "...", y = "..." }

It is a TOML file that is reviewed like code. Nothing in it is ignored: an unknown name is an error. All errors are
reported at once, each with its place, such as `services.billing.calls[0]`.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

from pydantic import AfterValidator, ValidationError, model_validator
from pydantic_core import ErrorDetails

from mstoken.claims import service_name
from mstoken.errors import PolicyError
from mstoken.issuer.keys import P256Jwk, RegisteredKey, Table

TomlPath: TypeAlias = tuple[str | int, ...]
"""The path to a value in a TOML document: names of tables and keys, and indices of lists, which begin at 0."""

_SERVICE_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9.-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.gserviceaccount\.com")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def _service_account(email: str) -> str:
    if not _SERVICE_ACCOUNT.fullmatch(email):
        raise ValueError(
            f"{email!r} is not a service account: expected an address in lower case, such as "
            "billing@demo-shop.iam.gserviceaccount.com"
        )
    return email


_ServiceAccount: TypeAlias = Annotated[str, AfterValidator(_service_account)]


class ServicePolicy(Table):
    """One service: the service accounts that it runs as, its registered keys, and the services that it may call."""

    service_accounts: tuple[_ServiceAccount, ...] = ()
    keys: tuple[RegisteredKey, ...] = ()
    calls: tuple[str, ...] = ()

    @cached_property
    def audiences(self) -> frozenset[str]:
        """The services in `calls`. To find one does not take longer if there are thousands."""
        return frozenset(self.calls)


class Policy(Table):
    """Which service may call which. Every instance is valid: for example, no two services share an account or a key."""

    services: Mapping[str, ServicePolicy]

    @model_validator(mode="after")
    def _services_are_consistent(self) -> Self:
        tables = {name: vars(service) for name, service in self.services.items()}
        if errors := [f"{_place(path)}: {text}" for path, text in _inconsistencies(tables)]:
            raise ValueError("; ".join(errors))
        return self

    @classmethod
    def load(cls, path: Path) -> "Policy":
        """Return the policy in the file `path`. Raise `PolicyError` if the file is wrong or cannot be read."""
        try:
            text = path.read_bytes().decode("utf-8")
        except OSError as error:
            raise PolicyError(str(path), [(None, f"cannot read the file: {error.strerror}")]) from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise PolicyError(str(path), [(None, f"not UTF-8 (at line {line})")]) from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, file: str) -> "Policy":
        """Return the policy in `text`, which is TOML. `file` is the name of the file, for errors.

        Raise `PolicyError` with all errors and their places. An error in the TOML syntax hides the others. No error
        repeats anything of a private key.
        """
        policy, errors = cls._read(text)
        if policy is None:
            raise PolicyError(file, errors)
        return policy

    @classmethod
    def _read(cls, text: str) -> "tuple[Policy | None, list[tuple[str | None, str]]]":
        """Return the policy, or the errors: a place and a sentence for each.

        The errors are returned, not raised, so that no exception in the chain of a `PolicyError` holds a private key.
        """
        try:
            document = tomllib.loads(text)
        except RecursionError:
            return None, [(None, "nested too deeply")]
        except ValueError as error:  # TOMLDecodeError, or a plain ValueError for a number of thousands of digits.
            return None, [(None, f"not valid TOML: {error}")]
        try:
            return cls.model_validate(document), []
        except ValidationError as error:
            # An error without a place is from `_services_are_consistent`; `_inconsistencies` gives the places.
            details = error.errors(include_input=False, include_url=False)
            errors = [_explained(detail) for detail in details if detail["loc"]]
        errors += _inconsistencies(document.get("services"))
        return None, [(_place(path), sentence) for path, sentence in errors]

    def service_of_account(self, email: str) -> str | None:
        """Return the name of the service that runs as the service account `email`, or None."""
        return self._owners.get(email)

    @cached_property
    def _owners(self) -> Mapping[str, str]:
        """Service account -> the name of its service."""
        return {account: name for name, service in self.services.items() for account in service.service_accounts}

    @property
    def has_keys(self) -> bool:
        """Whether any service has a registered key."""
        return any(service.keys for service in self.services.values())

    def keys_of(self, service: str) -> Sequence[RegisteredKey]:
        """Return the registered keys of `service`, also those that have expired. An unknown service has none."""
        table = self.services.get(service)
        return table.keys if table else ()

    def allows(self, service: str, audience: str) -> bool:
        """Return whether `service` may call `audience`."""
        table = self.services.get(service)
        return table is not None and audience in table.audiences


def _inconsistencies(services: object) -> Iterator[tuple[TomlPath, str]]:
    """Yield the errors that need more than one table to see: names, duplicates, and calls to unknown services.

    `services` is what the file contains. Values of a wrong type are skipped: pydantic reports them.
    """
    if not isinstance(services, Mapping):
        return
    if not services:
        yield ("services",), "there are no services, so no service could get a token"
    owners: dict[str, str] = {}
    for name, table in services.items():
        path = ("services", name)
        try:
            service_name(name)
        except ValueError as error:
            yield path, str(error)
        if not isinstance(table, Mapping):
            continue
        for sub_path, identity, described in _identities(table):
            if identity not in owners:
                owners[identity] = name
            elif owners[identity] == name:
                yield (*path, *sub_path), f"{described} is listed twice"
            else:
                yield (*path, *sub_path), f"{described} already belongs to the service {owners[identity]!r}"
        yield from _call_errors(name, table, services)


def _identities(table: Mapping[str, Any]) -> Iterator[tuple[TomlPath, str, str]]:
    """Yield what a service proves its identity with: the path, a text that must be unique, and words for an error."""
    for index, account in enumerate(_items(table, "service_accounts")):
        if isinstance(account, str):
            yield ("service_accounts", index), account, repr(account)
    for index, key in enumerate(_items(table, "keys")):
        with suppress(ValidationError):
            yield ("keys", index), RegisteredKey.model_validate(key).key_id, "this key"


def _call_errors(name: str, table: Mapping[str, Any], services: Mapping[str, Any]) -> Iterator[tuple[TomlPath, str]]:
    """Yield what is wrong with the calls of the service `name`."""
    calls = _items(table, "calls")
    if calls and not table.get("service_accounts") and not table.get("keys"):
        yield (
            ("services", name),
            "a service that calls others needs service_accounts or keys, to prove its identity",
        )
    for index, audience in enumerate(calls):
        path = ("services", name, "calls", index)
        if audience == name:
            yield path, "a service needs no token to call itself"
        elif isinstance(audience, str) and audience not in services:
            similar = difflib.get_close_matches(audience, services, n=1)
            hint = f" (did you mean {similar[0]!r}?)" if similar else ""
            yield path, f"unknown service {audience!r}{hint}"


def _items(table: Mapping[str, Any], name: str) -> Sequence[Any]:
    items = table.get(name)
    return items if isinstance(items, list | tuple) else ()


_SENTENCES = {
    "missing": "required, but missing",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "tuple_type": "must be a list",
    "string_type": "must be a string",
    "date_type": "must be a date, such as 2026-11-24",
}
"""Our sentences for pydantic's types of errors. The types are stable, pydantic's own sentences are not."""


def _explained(error: ErrorDetails) -> tuple[TomlPath, str]:
    """Return the path and our sentence for an error of pydantic's."""
    path, kind = error["loc"], error["type"]
    if kind == "extra_forbidden":
        return path, f"unknown name; known names are {', '.join(sorted(_table_at(path).model_fields))}"
    if kind == "literal_error":
        return path, f"must be {error['ctx']['expected']}"
    return path, _SENTENCES.get(kind) or error["msg"].removeprefix("Value error, ")


def _table_at(path: TomlPath) -> type[Table]:
    """Return the model of the table that contains the key at `path`."""
    models: Mapping[int, type[Table]] = {1: Policy, 3: ServicePolicy, 5: RegisteredKey, 6: P256Jwk}
    return models[len(path)]


def _place(path: TomlPath) -> str:
    """Return a path as in `services.billing.calls[0]`, with quotes around keys that TOML would not take without."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _BARE_KEY.fullmatch(step) else repr(step))
    return text
