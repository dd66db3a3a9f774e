"""JWS Compact Serialization, taken apart strictly and without verifying anything (RFC 7515, sections 3.1 and 5.2).

Verifiers in the field differ in what they make of odd input, and attacks live in the differences. So what goes on to
a verifier has exactly one reading: canonical base64url, UTF-8, JSON objects with each key once, numbers that are
finite, and little depth.
"""

import base64
import json
import re
from typing import Any, NamedTuple, NoReturn

MAX_TOKEN_BYTES = 8192
MAX_DEPTH = 16

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")


class Unverified(NamedTuple):
    """The header and payload of a JWT that nobody has verified."""

    header: dict[str, Any]
    payload: dict[str, Any]


def unverified(token: str) -> Unverified:
    """The header and payload of `token`, a JWT of at most 8 KiB in compact serialization.

    The signature may be empty: whether that will do is for the verifier to say.
    Raises ValueError, whose text names the fault and repeats nothing of the token.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise ValueError(f"longer than {MAX_TOKEN_BYTES} bytes")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise ValueError("not three parts of base64url with dots between them")
    header, payload, signature = parts.groups()
    _decode(signature)
    return Unverified(_json_object(header), _json_object(payload))


def _decode(part: str) -> bytes:
    """The bytes of one part. base64url has several spellings for some bytes; only the canonical one passes."""
    try:
        decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise ValueError("not base64url") from None
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != part:
        raise ValueError("not canonical base64url")
    return decoded


def _json_object(part: str) -> dict[str, Any]:
    text = _decode(part)
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_each_key_once,
            parse_constant=_no_such_number,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError:
        raise ValueError("not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    if _deeper_than(MAX_DEPTH, value):
        raise ValueError("nested too deeply")
    return value


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


def _deeper_than(levels: int, value: object) -> bool:
    """Whether `value` nests further than `levels`; looks no deeper than that itself."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if children is None:
        return False
    return levels == 0 or any(_deeper_than(levels - 1, child) for child in children)
