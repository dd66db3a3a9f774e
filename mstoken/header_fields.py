"""Reading header fields that another party wrote: all that their RFCs allow, and nothing for what they do not.

It is written by hand because neither httpx nor the standard library reads challenges or cache directives, and the
parsers of other HTTP libraries come with those libraries.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_SEPARATOR = re.compile(r"[ \t]*(?:,[ \t]*)*")
_SCHEME = re.compile(rf"({_TOKEN})(?: +|(?=[\t ]*(?:,|$)))")
_TOKEN68 = re.compile(r"([A-Za-z0-9\-._~+/]+=*)(?=[ \t]*(?:,|$))")
_PARAMETER = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*({_TOKEN}|{_QUOTED})(?=[ \t]*(?:,|$))")
_DIRECTIVE = re.compile(rf"({_TOKEN})(?:[ \t]*=[ \t]*({_TOKEN}|{_QUOTED}))?(?=[ \t]*(?:,|$))")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_DIGITS = re.compile(r"[0-9]+")
MAX_SECONDS = 2.0**31
"""A larger number of seconds counts as this one (RFC 9111, section 1.2.2)."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a server. The scheme and the names of parameters are in lower case, as they have no case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    token68: str | None = None


def challenges(lines: Sequence[str]) -> list[Challenge]:
    """Return the challenges in the lines of a `WWW-Authenticate` field (RFC 9110, sections 11.2 to 11.6.1).

    A line may have several challenges. What follows a syntax error in a line is ignored, and so is the challenge with
    the error.
    """
    return [challenge for line in lines for challenge in _challenges_of_line(line)]


def cache_directives(lines: Sequence[str]) -> dict[str, str]:
    """Return the directives of a `Cache-Control` field, by name in lower case (RFC 9111, section 5.2).

    The value of a directive without an argument is the empty text. If a directive is repeated, the first one counts
    (section 4.2.1). What follows a syntax error in a line is ignored.
    """
    found: dict[str, str] = {}
    for line in lines:
        position = _skip(line, 0)
        while match := _DIRECTIVE.match(line, position):
            found.setdefault(match[1].lower(), _unquoted(match[2] or ""))
            position = _skip(line, match.end())
    return found


def delta_seconds(value: str) -> float | None:
    """Return a number of seconds, at most 2^31 (RFC 9111, section 1.2.2), or None if `value` is none."""
    digits = value.strip(" \t")
    if not _DIGITS.fullmatch(digits):
        return None
    return min(float(digits[:400]), MAX_SECONDS)


def http_date(value: str) -> float | None:
    """Return a time in seconds since the epoch, or None. All three formats are read (RFC 9110, section 5.6.7)."""
    try:
        moment = parsedate_to_datetime(value.strip(" \t"))
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def retry_after_seconds(lines: Sequence[str], date_lines: Sequence[str], now: float) -> float:
    """Return the seconds of a `Retry-After` field: a number, or the time until a date (RFC 9110, section 10.2.3).

    A date is compared with the `Date` of the same answer, if there is one: the clocks may differ. `now` is in seconds
    since the epoch. The result is 0 for anything else and for a date that has passed.
    """
    if len(lines) != 1:
        return 0.0
    if (seconds := delta_seconds(lines[0])) is not None:
        return seconds
    until = http_date(lines[0])
    if until is None:
        return 0.0
    sent_at = http_date(date_lines[0]) if len(date_lines) == 1 else None
    return min(max(0.0, until - (now if sent_at is None else sent_at)), MAX_SECONDS)


def _challenges_of_line(line: str) -> Iterator[Challenge]:
    position = _skip(line, 0)
    while scheme := _SCHEME.match(line, position):
        position = scheme.end()
        parameters: dict[str, str] = {}
        token68 = _TOKEN68.match(line, position)
        if token68 is not None:
            position = _skip(line, token68.end())
        else:
            position = _skip(line, position)
            while parameter := _PARAMETER.match(line, position):
                # A parameter occurs once in a challenge. If it does not, the first one counts.
                parameters.setdefault(parameter[1].lower(), _unquoted(parameter[2]))
                position = _skip(line, parameter.end())
        if position < len(line) and not _SCHEME.match(line, position):
            return
        yield Challenge(scheme[1].lower(), parameters, token68[1] if token68 else None)


def _skip(line: str, position: int) -> int:
    """Return the position after white space and commas. Elements of a list may be empty (RFC 9110, section 5.6.1.2)."""
    match = _SEPARATOR.match(line, position)
    return match.end() if match else position


def _unquoted(value: str) -> str:
    return _ESCAPE.sub(r"\1", value[1:-1]) if value.startswith('"') else value
