"""Reading a JWT strictly, without verifying its signature (RFC 7515, sections 3.1 and 5.2).

Verifiers differ in how they read unusual input, and attacks use these differences. So this module accepts only input
that can be read in one way: canonical base64url, UTF-8, JSON objects without duplicate keys, finite numbers, and little
nesting. It is written by hand because the libraries are less strict: PyJWT accepts duplicate keys and NaN, and joserfc
returns the payload as bytes.

The text of a ValueError completes the sentence "The token is …", and contains nothing of the input.
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
"""White space that a server may leave around the value of a header (RFC 9110, section 5.5)."""

_NOT_A_JWT = "not three parts of base64url separated by dots"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_TO_BASE64 = bytes.maketrans(b"-_+/=", b"+/!!!")
"""Characters of base64 that base64url does not have become one that neither of them has."""
_PADDING = (b"", b"", b"==", b"=")
"""The padding of base64, by the remainder of the length divided by four. No text has a remainder of one."""
_CANONICAL_ENDS: tuple[frozenset[str], ...] = (
    frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
    frozenset(),
    frozenset("AQgw"),
    frozenset("AEIMQUYcgkosw048"),
)
"""The last characters that canonical base64url can have, by the remainder of its length divided by four."""


class Unverified(NamedTuple):
    """A JWT that was not verified: as it came, its header, its payload, the bytes that were signed, the signature."""

    encoded: str
    header: Mapping[str, Any]
    payload: dict[str, Any]
    signing_input: bytes
    signature: bytes


class Parts(NamedTuple):
    """The parts of a JWT: the header and the payload as they came, the bytes that were signed, the signature."""

    header: str
    payload: str
    signing_input: bytes
    signature: bytes


def unverified(token: str) -> Unverified:
    """Return `token`, a JWT of at most 8 KiB in compact serialization, with its contents. The signature may be empty.

    Raises ValueError.
    """
    parts = split(token)
    payload = part(parts.payload)
    return Unverified(token, part(parts.header), payload, parts.signing_input, parts.signature)


def split(token: str) -> Parts:
    """Return the parts of `token`, as `unverified` does, but do not read the JSON in them. `part` reads it."""
    if len(token) > MAX_TOKEN_BYTES:
        raise ValueError(f"longer than {MAX_TOKEN_BYTES} bytes")
    parts = token.split(".", 3)
    if len(parts) != 3 or not parts[0] or not parts[1] or not token.isascii():
        raise ValueError(_NOT_A_JWT)
    header, payload, signature = parts
    return Parts(header, payload, f"{header}.{payload}".encode("ascii"), _decoded(signature, _NOT_A_JWT))


def part(text: str) -> dict[str, Any]:
    """Return the JSON object in the header or the payload of `split`. Raises ValueError."""
    return json_object(_decoded(text, _NOT_A_JWT))


def bearer_token(header_lines: Sequence[str]) -> str:
    """Return the token of the one `Authorization: Bearer` header line (RFC 6750, section 2.1).

    Raises ValueError for another scheme, and unless there is exactly one line. Its text is a sentence for the answer.
    """
    if len(header_lines) != 1:
        raise ValueError(
            "The request has more than one Authorization header line."
            if header_lines
            else "The request has no Authorization header line."
        )
    scheme, _, token = header_lines[0].strip(OPTIONAL_WHITESPACE).partition(" ")
    if scheme.lower() != "bearer":
        raise ValueError("The scheme of Authorization is not Bearer.")
    return token.lstrip(" ")


def rs256_key_id(header: Mapping[str, Any]) -> str:
    """Return the key id of a header, which must be like that of the ID tokens of Google and Firebase.

    Sources: Firebase, "Verify ID tokens using a third-party JWT library"; RFC 7515, section 4.1.11 (`crit`); RFC 8725,
    sections 3.1 (one algorithm) and 3.11 (explicit types). Raises ValueError for other headers.
    """
    key_id = header.get("kid")
    if header.get("alg") != "RS256":
        raise ValueError("not signed with RS256")
    if header.get("typ", "JWT") != "JWT":
        raise ValueError("a JWT whose typ is not JWT")
    if "crit" in header:
        raise ValueError("a JWT with extensions (crit), which ID tokens do not have")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_CHARACTERS:
        raise ValueError(f"a JWT without a key id (kid) of 1 to {MAX_KEY_ID_CHARACTERS} characters")
    return key_id


def seconds(claims: Mapping[str, Any], name: str) -> int:
    """Return the claim `name`, a time in whole seconds since the epoch. Raises ValueError for any other value."""
    value = claims.get(name)
    if type(value) is not int or value < 0:  # isinstance would accept a bool
        raise ValueError(f"a JWT whose {name} is not a time in whole seconds")
    return value


def json_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in `content`. Raises ValueError if it is not UTF-8 or can be read in more than one way."""
    try:
        text = content.decode("utf-8")
        value = _json(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError:
        raise ValueError("not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    # Counting brackets first is fast: most tokens have too few to be nested too deeply.
    if text.count("{") + text.count("[") > MAX_DEPTH and _deeper_than(MAX_DEPTH, value):
        raise ValueError("nested too deeply")
    return value


def base64url(value: bytes) -> str:
    """Return `value` in base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def base64url_decode(text: str) -> bytes:
    """Return the bytes of `text`, base64url without padding.

    Raises ValueError for other text, and if `text` is not the canonical encoding of its bytes.
    """
    return _decoded(text, "not base64url")


def _decoded(text: str, problem: str) -> bytes:
    """Return the bytes of `text`, as `base64url_decode` does. `problem` is for the error if it is not base64url."""
    # The last character has unused bits, which are 0 in the canonical encoding (RFC 4648, section 3.5).
    if not text or text[-1] in _CANONICAL_ENDS[len(text) % 4]:
        try:
            padded = text.encode("ascii").translate(_TO_BASE64) + _PADDING[len(text) % 4]
            return binascii.a2b_base64(padded, strict_mode=True)
        except (UnicodeEncodeError, binascii.Error):
            pass
    raise ValueError("not canonical base64url" if _BASE64URL.fullmatch(text) else problem)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a JSON object with a duplicate key")
    return value


def _not_a_number(text: str) -> NoReturn:
    raise ValueError("JSON with NaN or Infinity, which JSON does not allow")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("JSON with a number out of range")
    return number


def _limited(text: str) -> int:
    if len(text) > 20:
        raise ValueError("JSON with a number out of range")
    return int(text)


_JSON = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_constant=_not_a_number, parse_float=_finite, parse_int=_limited
)


def _json(text: str) -> Any:
    """Return the JSON value in `text`, as `decode` of the decoder does. Raises ValueError.

    `decode` searches for white space around the value first, which a JWT hardly ever has.
    """
    try:
        value, end = _JSON.raw_decode(text)
        if end == len(text):
            return value
    except json.JSONDecodeError:
        pass
    return _JSON.decode(text)


def _deeper_than(levels: int, value: object) -> bool:
    """Return whether `value` is nested more than `levels` deep. The search stops at that depth."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if children is None:
        return False
    return levels == 0 or any(_deeper_than(levels - 1, child) for child in children)
