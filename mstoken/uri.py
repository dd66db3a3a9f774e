"""Normal forms of URIs, so that two spellings of one URI compare equal (RFC 3986, sections 6.2.2 and 6.2.3).

It is written by hand because the libraries do less: neither httpx.URL nor urllib.parse decodes escapes of characters
that need none, or writes escapes in upper case, and proofs from other implementations can have either spelling.
"""

import re
from ipaddress import IPv6Address
from urllib.parse import quote, unquote

_URI = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9\-._~!$&'()*+,;=]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{0,9}))?"
    r"(?P<path>(?:/[!-\"$->@-~]*)?)(?:[?#][!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
_TO_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}|[^A-Za-z0-9\-._~!$&'()*+,;=:@/\[\]]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_BARE = "/:@!$&'()*+,;=~"
"""The characters, beside letters, digits and -._, that need no escape in a path (RFC 3986, section 3.3)."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LARGEST_PORT = 65535


def normalized(uri: str) -> str:
    """Return the normal form of an `http` or `https` URI, without its query and fragment.

    Scheme and host are in lower case. Escapes are in upper case, and only where they are needed. Dot segments and the
    default port of the scheme are removed. An empty path becomes `/`. A character that is not allowed in a path, such
    as the `|` that httpx leaves there, is escaped. Raises ValueError for other text, and for a URI with user
    information.
    """
    found = _URI.fullmatch(uri)
    if found is None:
        raise ValueError("it must be an http or https URI without user information")
    scheme, host = found["scheme"].lower(), found["host"].lower()
    if host.startswith("["):
        IPv6Address(host[1:-1])
    port = int(found["port"]) if found["port"] else _DEFAULT_PORTS[scheme]
    if port > _LARGEST_PORT:
        raise ValueError(f"its port must be at most {_LARGEST_PORT}")
    authority = host if port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"
    return f"{scheme}://{authority}{_without_dot_segments(_with_normal_escapes(found['path']))}"


def has_dot_segments(path: str) -> bool:
    """Return whether a segment of `path` is `.` or `..`, as it was sent or after it is decoded once.

    In a normal form such segments are resolved. A server that decodes a path does not resolve them, and routes on the
    result. So the normal form of such a path can be that of another resource.
    """
    return not {".", ".."}.isdisjoint(unquote(path).split("/"))


def escaped(path: str) -> str:
    """Return a path that a server has decoded, with escapes where they are needed: in normal form.

    The result is the path that was sent, unless that had an escape that it did not need to have, such as `%40`, or one
    of `/`. A server that passes on the decoded path only does not say.
    """
    return quote(path, safe=_BARE, errors="surrogateescape")


def _with_normal_escapes(path: str) -> str:
    """Return a path in which exactly the characters that need an escape have one, in upper case (6.2.2.1, 6.2.2.2).

    A percent sign that does not begin an escape is escaped.
    """

    def normal(found: re.Match[str]) -> str:
        text = found[0]
        if len(text) == 1:
            return f"%{ord(text):02X}"
        character = chr(int(text[1:], 16))
        return character if character in _UNRESERVED else text.upper()

    return _TO_ESCAPE.sub(normal, path)


def _without_dot_segments(path: str) -> str:
    """Return a path without dot segments (RFC 3986, section 5.2.4). It is empty or begins with a slash."""
    if "/." not in path:
        return path or "/"
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    if path.endswith(("/.", "/..")):
        segments.append("")
    return "/" + "/".join(segments)
