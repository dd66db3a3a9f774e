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

import datetime
import difflib
import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from jwt.exceptions import InvalidKeyError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from mstoken import compact
from mstoken.claims import service_name
from mstoken.errors import PolicyError
from mstoken.proof import thumbprint

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
TomlPath: TypeAlias = tuple[str | int, ...]
"""The way to a value in a TOML document: keys of tables, and indices of arrays from 0 on."""

_SERVICE_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9.-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.gserviceaccount\.com")
_COORDINATE_BYTES = 32
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""What only private and symmetric keys have (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1)."""
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
"""The prime and the constant of the curve Ed25519 (RFC 8032, section 5.1)."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TOML_POSITION = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")


def _service_account(email: str) -> str:
    if not _SERVICE_ACCOUNT.fullmatch(email):
        raise ValueError(
            f"{email!r} is no service account: one in small letters is wanted, such as "
            "billing@demo-shop.iam.gserviceaccount.com; people and groups cannot call"
        )
    return email


def _coordinate(value: str) -> str:
    """A coordinate in its one spelling (RFC 7518, section 6.2.1.2), so that a key has one thumbprint."""
    try:
        if len(compact.base64url_decode(value)) == _COORDINATE_BYTES:
            return value
    except ValueError:
        pass
    raise ValueError("32 bytes of base64url are wanted, without padding")


_ServiceAccount: TypeAlias = Annotated[str, AfterValidator(_service_account)]
_Coordinate: TypeAlias = Annotated[str, AfterValidator(_coordinate)]


class _Table(BaseModel):
    """A table of the file. Errors do not repeat what stands in it, since it may be a private key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Jwk(_Table):
    """A public key as JWK (RFC 7517, section 4). What it is to be used for has only one answer here."""

    x: _Coordinate
    use: Literal["sig"] = "sig"
    kid: object = None
    """Read by nobody: a key is known by its thumbprint."""


class P256Jwk(_Jwk):
    """A key of the curve P-256, for ES256 (RFC 7518, sections 3.4 and 6.2.1)."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    y: _Coordinate
    alg: Literal["ES256"] = "ES256"


class Ed25519Jwk(_Jwk):
    """A key of the curve Ed25519, for EdDSA (RFC 8037, sections 2 and 3.1)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    alg: Literal["EdDSA"] = "EdDSA"


class RegisteredKey(_Table):
    """A public key that a service outside Google Cloud signs JWTs with, and the day since when it stands here."""

    added: datetime.date | None = Field(default=None, strict=True)
    jwk: Annotated[P256Jwk | Ed25519Jwk, Field(discriminator="kty")]

    @model_validator(mode="before")
    @classmethod
    def _is_not_private(cls, value: object) -> object:
        tables = (value, value.get("jwk")) if isinstance(value, dict) else ()
        if any(isinstance(table, dict) and not _PRIVATE_MEMBERS.isdisjoint(table) for table in tables):
            raise ValueError(
                "a private key stands here, which is not to be trusted any more, since others have seen it: "
                "make a new one, and register its public half"
            )
        return value

    @field_validator("jwk")
    @classmethod
    def _is_a_key(cls, jwk: P256Jwk | Ed25519Jwk) -> P256Jwk | Ed25519Jwk:
        try:
            _public_key(jwk)
        except (InvalidKeyError, ValueError):
            raise ValueError(f"it is no key of the curve {jwk.crv}") from None
        if isinstance(jwk, Ed25519Jwk) and not _is_point_of_ed25519(compact.base64url_decode(jwk.x)):
            raise ValueError(f"it is no key of the curve {jwk.crv}")
        return jwk

    @property
    def key_id(self) -> str:
        """The thumbprint of the key, base64url of SHA-256, 43 characters (RFC 7638)."""
        return thumbprint(_members(self.jwk))

    @property
    def algorithm(self) -> Literal["ES256", "EdDSA"]:
        """The one algorithm that signatures with this key have (RFC 8725, section 3.1)."""
        return self.jwk.alg

    @property
    def public_key(self) -> PublicKey:
        """The key as cryptography and PyJWT take it."""
        return _public_key(self.jwk)


class ServicePolicy(_Table):
    """One service: the service accounts that it runs as, its registered keys, and the services that it may call."""

    service_accounts: tuple[_ServiceAccount, ...] = ()
    keys: tuple[RegisteredKey, ...] = ()
    calls: tuple[str, ...] = ()


class Policy(_Table):
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


def _table_of(place: TomlPath) -> type[_Table]:
    """The table that a key at `place`, as pydantic has it, was found in."""
    outer: Mapping[int, type[_Table]] = {1: Policy, 3: ServicePolicy, 5: RegisteredKey}
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


def line_of(text: str, path: TomlPath) -> int | None:
    """The line, from 1 on, at which the value that `path` leads to begins in `text`, which is good TOML.

    For something that is missing, the line of the table or list that it is missing from, which is None for the whole
    file. Raises ValueError for a text that is no TOML, RecursionError for one that nests too deeply.

    This needs no parser of our own. The first lines of a TOML file are a TOML file too, unless a value goes on behind
    them: so a value ends where the shortest such beginning ends that has it, and begins behind the next shorter one.
    A list that goes on is one that a bracket would close, which tells the lines of its items apart.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    document = tomllib.loads(text)
    while path and not _leads_somewhere(path, document):
        path = path[:-1]
    if not path:
        return None
    ends = _statement_ends(lines)
    index = bisect_left(ends, True, key=lambda end: _leads_somewhere(path, _parsed(lines[:end])))
    begin = ends[index - 1] if index else 0
    for end in range(begin + 1, ends[index]):
        closed = _parsed([*lines[:end], "]"])
        if closed is not None and _leads_somewhere(path, closed):
            break
        if closed is not None:
            begin = end
    return begin + 1


def _statement_ends(lines: Sequence[str]) -> Sequence[int]:
    """After which lines of a TOML file, from 1 on, a statement ends: by itself each can be read as well."""
    ends, begin = [], 0
    for end in range(1, len(lines) + 1):
        if _parsed(lines[begin:end]) is not None:
            ends.append(end)
            begin = end
    return ends


def _parsed(lines: Sequence[str]) -> dict[str, Any] | None:
    try:
        return tomllib.loads("\n".join(lines))
    except ValueError:
        return None


def _leads_somewhere(path: TomlPath, document: Any) -> bool:
    """Whether there is a value in `document` at the end of `path`."""
    try:
        for step in path:
            document = document[step]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _members(jwk: P256Jwk | Ed25519Jwk) -> dict[str, str]:
    """What makes a key the key it is."""
    return jwk.model_dump(include={"kty", "crv", "x", "y"})


def _public_key(jwk: P256Jwk | Ed25519Jwk) -> PublicKey:
    """The key that `jwk` says. Raises ValueError, `InvalidKeyError` where it is no point of its curve."""
    key = ECAlgorithm.from_jwk(_members(jwk)) if isinstance(jwk, P256Jwk) else OKPAlgorithm.from_jwk(_members(jwk))
    assert isinstance(key, PublicKey)  # noqa: S101 - without `d` it is no private one
    return key


def _is_point_of_ed25519(encoded: bytes) -> bool:
    """Whether 32 bytes are a point of the curve (RFC 8032, section 5.1.3), and none of the eight of small order.

    cryptography takes any 32 bytes, and with a point of small order as the key anyone can make signatures that pass.
    """
    y = int.from_bytes(encoded, "little") % 2**255
    v = y * y % _P
    u = (v - 1) * pow(_D * v + 1, -1, _P) % _P  # The squares of x and y will do.
    if y >= _P or pow(u, (_P - 1) // 2, _P) != 1:
        return False
    for _ in range(2):  # Doubled twice, a point of small order has an x of 0 (section 5.1.4).
        u, v = 4 * u * v * pow(v - u, -2, _P) % _P, pow(u + v, 2, _P) * pow(2 + u - v, -2, _P) % _P
    return u != 0
