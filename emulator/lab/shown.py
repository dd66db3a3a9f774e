"""Requests and tokens as the lab shows them: readable, and never usable.

Whatever could be a credential or a part of one is cut: a page, a screenshot or a shared screen must not give a token
away. The claims of a token are not secret, so they are shown decoded.
"""

import binascii
import json
import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any

KEPT_CHARACTERS = 8
"""How much of a text that could be a secret is shown."""
LONGEST_SHOWN = 23
"""The longest run of characters of base64url that is shown: an id of 128 bits has 22, a signature has 86 or more."""
MAX_LINES = 60
MAX_LINE = 400

_RUN = re.compile(rf"[A-Za-z0-9_-]{{{LONGEST_SHOWN + 1},}}")
_WORDS = re.compile(r"[A-Za-z][a-z]{0,15}(-[A-Za-z][a-z]{0,15})*")
"""Words, such as the name of a header field. A key or a signature of this length never looks like that."""
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
_CONTROLS = {0: "␀", 13: "␍", 127: "␡"}


@dataclass(frozen=True)
class ShownToken:
    """A token of a request: the header line that has it, its decoded parts, and what is said about its signature."""

    line: str
    header: str
    payload: str
    signature: str


@dataclass(frozen=True)
class ShownRequest:
    """A request as text with everything cut that could be a credential, and the tokens in it, decoded."""

    text: str
    tokens: tuple[ShownToken, ...]


def show_request(request: bytes) -> ShownRequest:
    """Return how a page shows a request."""
    tokens = []
    for line in request.split(b"\r\n"):
        name = line.partition(b":")[0].strip().decode("latin-1")
        tokens += [_decoded(name, found[0]) for found in _TOKEN.finditer(line) if b"." in found[0].strip(b".")]
    return ShownRequest(show_text(request), tuple(token for token in tokens if token is not None))


def show_text(raw: bytes) -> str:
    """Return bytes as text, with long runs cut. Line breaks stay, and other control characters become symbols."""
    text = raw.replace(b"\r\n", b"\n").decode("ascii", "backslashreplace").translate(_CONTROLS)
    lines = [cut(line) for line in text.split("\n")]
    shown = [line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}… ({len(line)} characters)" for line in lines]
    if len(shown) > MAX_LINES:
        shown = [*shown[:MAX_LINES], f"… ({len(shown)} lines)"]
    return "\n".join(shown).rstrip("\n")


def cut(text: str) -> str:
    """Return a text in which every run is cut that is long enough for a key, a signature or a token."""
    return _RUN.sub(lambda run: run[0] if _WORDS.fullmatch(run[0]) else _cut_run(run[0]), text)


def _cut_run(run: str) -> str:
    return f"{run[:KEPT_CHARACTERS]}…"


def _decoded(line: str, token: bytes) -> ShownToken | None:
    """Return a token with its parts decoded, or None if nothing in it can be decoded."""
    header, payload, signature = token.split(b".")
    if (decoded := _json(header)) is None:
        return None
    said = f"{len(signature)} characters, not shown" if signature else "none"
    return ShownToken(line, decoded, _json(payload) or "cannot be decoded", said)


def _json(part: bytes) -> str | None:
    try:
        text = urlsafe_b64decode(part + b"=" * (-len(part) % 4)).decode("utf-8", "backslashreplace")
    except (ValueError, binascii.Error):
        return None
    try:
        if text.count("{") + text.count("[") < 50 and len(text) < 4000:
            text = json.dumps(json.loads(text, parse_int=str_or_int), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        pass
    if not text.lstrip().startswith(("{", "[")):
        return None
    return show_text(text.encode("utf-8", "backslashreplace"))


def str_or_int(digits: str) -> Any:
    """Return a number, or its text if it is too long to be one."""
    return int(digits) if len(digits) < 20 else digits
