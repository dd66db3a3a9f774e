"""The known attacks with header lines: what is sent, and the code of the refusal.

docs/threat-model.md has the same table. A test compares the two.
"""

from collections.abc import Callable
from dataclasses import dataclass

from emulator.attacks.wire import PATH


@dataclass(frozen=True)
class Smuggling:
    """Header lines with one or two valid tokens, and the status or code of the answer."""

    name: str
    code: str
    lines: Callable[[bytes, bytes], list[bytes]]

    def path(self, token: bytes) -> bytes:
        """Return the path of the request, in which one of the attacks puts the token."""
        return PATH + b"&X-MS-TOKEN=" + token if self.name == IN_THE_QUERY else PATH


HEADER = b"X-MS-TOKEN"
IN_THE_QUERY = "in the query"

SMUGGLING = [
    Smuggling("two header lines", "token_malformed", lambda a, b: [HEADER + b": " + a, HEADER + b": " + b]),
    Smuggling(
        "two header lines in two cases", "token_malformed", lambda a, b: [b"x-ms-token: " + a, b"X-Ms-Token: " + b]
    ),
    Smuggling("the same token on two lines", "token_malformed", lambda a, b: [HEADER + b": " + a] * 2),
    Smuggling("one empty line, one valid line", "token_malformed", lambda a, b: [HEADER + b":", HEADER + b": " + a]),
    Smuggling("two tokens joined by a comma", "token_malformed", lambda a, b: [HEADER + b": " + a + b"," + b]),
    Smuggling("two tokens joined by comma and space", "token_malformed", lambda a, b: [HEADER + b": " + a + b", " + b]),
    Smuggling("a token and a comma", "token_malformed", lambda a, b: [HEADER + b": " + a + b","]),
    Smuggling("a scheme before the token", "token_malformed", lambda a, b: [HEADER + b": Bearer " + a]),
    Smuggling("a folded line", "400 or token_malformed", lambda a, b: [HEADER + b": " + a + b"\r\n " + b]),
    Smuggling("a space before the colon", "400 or token_missing", lambda a, b: [HEADER + b" : " + a]),
    Smuggling("an underscore in the name", "token_missing", lambda a, b: [b"X_MS_TOKEN: " + a]),
    Smuggling("a NUL byte in the value", "400 or token_malformed", lambda a, b: [HEADER + b": " + a + b"\0"]),
    Smuggling("a bare carriage return and another header", "400", lambda a, b: [HEADER + b": " + a + b"\rX: y"]),
    # RFC 9112, section 2.2: a server may take a bare line feed for the end of a line.
    Smuggling("a bare line feed and another header", "accepted", lambda a, b: [HEADER + b": " + a + b"\nX: y"]),
    Smuggling(
        "a bare line feed and a second token",
        "token_malformed",
        lambda a, b: [HEADER + b": " + a + b"\n" + HEADER + b": " + b],
    ),
    Smuggling("bytes that are not ASCII", "token_malformed", lambda a, b: [HEADER + b": " + a + b"\xc3\xa9"]),
    Smuggling("an empty value", "token_malformed", lambda a, b: [HEADER + b":"]),
    Smuggling(IN_THE_QUERY, "token_missing", lambda a, b: []),
    Smuggling("the name in another case", "accepted", lambda a, b: [b"x-mS-tOkEn: " + a]),
    Smuggling("spaces around the value", "accepted", lambda a, b: [HEADER + b":  \t" + a + b" \t"]),
]
