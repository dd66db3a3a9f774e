"""JWS Compact Serialization, taken apart strictly and without verifying anything (RFC 7515, sections 3.1 and 5.2).

Verifiers in the field differ in what they make of odd input, and attacks live in the differences. So what goes on to
a verifier has exactly one reading: canonical base64url, UTF-8, JSON objects with each key once, numbers that are
finite, and little depth.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from mstoken.wire import MAX_TOKEN_BYTES

MAX_DEPTH = 16
MAX_KEY_ID_CHARACTERS = 128
OPTIONAL_WHITESPACE = " \t"
"""What a server may have left around the value of the header that a token came in (RFC 9110, section 5.5)."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_TO_BASE64 = bytes.maketrans(b"-_", b"+/")
_LAST: tuple[frozenset[str], ...] = (
    frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
    frozenset(),
    frozenset("AQgw"),
    frozenset("AEIMQUYcgkosw048"),
)
"""What a canonical text may end with, by the remainder of its length divided by four."""


class Unverified(NamedTuple):
    """A JWT that nobody has verified: header, payload, and what was signed with which outcome, if it was."""

    header: dict[str, Any]
    payload: dict[str, Any]
    signing_input: bytes
    signature: bytes


def unverified(token: str) -> Unverified:
    """What `token` consists of, a JWT of at most 8 KiB in compact serialization.

    The signature may be empty: whether that will do is for the verifier to say.
    Raises ValueError, whose text names the fault and repeats nothing of the token.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise ValueError(f"longer than {MAX_TOKEN_BYTES} bytes")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise ValueError("not three parts of base64url with dots between them")
    header, payload, signature = parts.groups()
    signing_input = token[: parts.end(2)].encode("ascii")
    return Unverified(json_object(_decoded(header)), json_object(_decoded(payload)), signing_input, _decoded(signature))


def bearer_token(header_lines: Sequence[str]) -> str:
    """Return the token of the one `Authorization: Bearer` header line (RFC 6750, section 2.1).

    Raise ValueError for another scheme, and for more or fewer lines than one. Its text is a sentence for the answer.
    """
    if len(header_lines) != 1:
        raise ValueError(
            "More than one Authorization header line." if header_lines else "No Authorization header line."
        )
    scheme, _, token = header_lines[0].strip(OPTIONAL_WHITESPACE).partition(" ")
    if scheme.lower() != "bearer":
        raise ValueError("Authorization is not of the scheme Bearer.")
    return token.lstrip(" ")


def rs256_key_id(header: Mapping[str, Any]) -> str:
    """The key that the header names, if it is a header as Google's ID tokens have it, Firebase's among them.

    Sources: Firebase, "Verify ID tokens using a third-party JWT library"; RFC 7515, section 4.1.11 (`crit`); RFC 8725,
    sections 3.1 (one algorithm) and 3.11 (explicit types). Raises ValueError, whose text names the fault.
    """
    key_id = header.get("kid")
    if header.get("alg") != "RS256":
        raise ValueError("not signed with RS256")
    if header.get("typ", "JWT") != "JWT" or "crit" in header:
        raise ValueError("one that asks for something in its header that no ID token needs")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_CHARACTERS:
        raise ValueError("one that names no key")
    return key_id


def seconds(claims: Mapping[str, Any], name: str) -> int:
    """A time among the claims; whole, and no `bool`, which is an `int` to Python. Raises ValueError, naming it."""
    value = claims.get(name)
    if type(value) is not int or value < 0:
        raise ValueError(f"one whose {name} is not a time in seconds")
    return value


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object that `content` is, which has one reading: UTF-8, each key once, finite numbers, little depth.

    Raises ValueError, whose text names the fault and repeats nothing.
    """
    try:
        text = content.decode("utf-8")
        value = _JSON.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError:
        raise ValueError("not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    # So few brackets cannot nest deeper, which saves most tokens from being searched.
    if text.count("{") + text.count("[") > MAX_DEPTH and _deeper_than(MAX_DEPTH, value):
        raise ValueError("nested too deeply")
    return value


def base64url(value: bytes) -> str:
    """`value` in base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def base64url_decode(text: str) -> bytes:
    """The bytes of `text`. base64url has several spellings for some bytes; only the canonical one passes.

    Raises ValueError, whose text repeats nothing.
    """
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    return _decoded(text)


def _decoded(text: str) -> bytes:
    """The bytes of a text that has no other characters than base64url has."""
    # The last character has bits to spare, which another spelling would set (RFC 4648, section 3.5).
    if text and text[-1] not in _LAST[len(text) % 4]:
        raise ValueError("not canonical base64url")
    return binascii.a2b_base64(text.encode("ascii").translate(_TO_BASE64) + b"==")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_such_number(text: str) -> NoReturn:
    raise ValueError("a number that JSON does not have")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number out of range")
    return number


def _bounded(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number out of range")
    return int(text)


_JSON = json.JSONDecoder(
    object_pairs_hook=_each_key_once, parse_constant=_no_such_number, parse_float=_finite, parse_int=_bounded
)


def _deeper_than(levels: int, value: object) -> bool:
    """Whether `value` nests further than `levels`; looks no deeper than that itself."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if children is None:
        return False
    return levels == 0 or any(_deeper_than(levels - 1, child) for child in children)
