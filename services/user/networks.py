"""The network that a request comes from, for limits of attempts.

Behind a proxy, the connection comes from the proxy, and the client's address is in `X-Forwarded-For`. A client can send
that header too, and each proxy adds to its end the address that it was called from. So only the entries that our own
proxies have added can be trusted: with n proxies, the n-th entry from the right is the client's address.

Source: MDN, "X-Forwarded-For", section "Selecting an IP address".
"""

import ipaddress
from collections.abc import Sequence

UNKNOWN = "unknown"
"""The network of all clients without an address. They share one, so that no client is without a limit."""


def client_network(peer: str, forwarded: Sequence[str], trusted_proxies: int) -> str:
    """Return the network that a request comes from: an IPv4 address, or the /64 network of an IPv6 address.

    `peer` is the address that the connection comes from. `forwarded` are the values of the header lines
    `X-Forwarded-For`. `trusted_proxies` is how many proxies of ours the request has passed. If the entry that the first
    of them must have added is missing or not an address, the network is that of `peer`.
    """
    entries = ",".join(forwarded).split(",")
    if 0 < trusted_proxies <= len(entries):
        found = _network(entries[-trusted_proxies])
        if found is not None:
            return found
    return _network(peer) or UNKNOWN


def _network(text: str) -> str | None:
    """Return the network of an address, with or without a port (as some proxies write it), or None.

    One customer has a /64 network of IPv6 addresses (RFC 6177). An IPv4 address that is mapped into IPv6 (RFC 4291,
    section 2.5.5.2) counts as itself: all of them are in one /64 network.
    """
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))
