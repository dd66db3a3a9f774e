"""URIs in the one spelling in which they can be compared (RFC 3986, sections 6.2.2 and 6.2.3)."""

import re
from ipaddress import IPv6Address

_URI = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9\-._~!$&'()*+,;=]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{0,9}))?"
    r"(?P<path>(?:/[!-\"$->@-~]*)?)(?:[?#][!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
_TO_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}|[^A-Za-z0-9\-._~!$&'()*+,;=:@/\[\]]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LARGEST_PORT = 65535


def normalized(uri: str) -> str:
    """An `http` or `https` URI without query and fragment, normalized by syntax and scheme.

    Scheme and host are in lower case, escapes in upper case and only where they are needed, dot segments are gone, and
    so is the port where it is the scheme's own; an empty path is `/`. A character that may not stand in a path, such as
    the `|` that httpx leaves there, is escaped. Raises ValueError for anything that is no absolute URI of these
    schemes, and for user information.
    """
    found = _URI.fullmatch(uri)
    if found is None:
        raise ValueError("not an http or https URI, or one with user information")
    scheme, host = found["scheme"].lower(), found["host"].lower()
    if host.startswith("["):
        IPv6Address(host[1:-1])
    port = int(found["port"]) if found["port"] else _DEFAULT_PORTS[scheme]
    if port > _LARGEST_PORT:
        raise ValueError(f"a port of at most {_LARGEST_PORT} is wanted")
    authority = host if port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"
    return f"{scheme}://{authority}{_without_dot_segments(_plain(found['path']))}"


def _plain(path: str) -> str:
    """Escapes of unreserved characters undone, the others in upper case, and what needs one escaped (6.2.2.1, 6.2.2.2).

    A percent sign that escapes nothing stands for itself.
    """

    def plain(found: re.Match[str]) -> str:
        text = found[0]
        if len(text) == 1:
            return f"%{ord(text):02X}"
        character = chr(int(text[1:], 16))
        return character if character in _UNRESERVED else text.upper()

    return _TO_ESCAPE.sub(plain, path)


def _without_dot_segments(path: str) -> str:
    """`remove_dot_segments` of RFC 3986, section 5.2.4, for a path that is empty or begins with a slash."""
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
