"""services/user/networks.py"""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.user.networks import UNKNOWN, client_network

PEER = "10.0.0.7"
CLIENT = "192.0.2.1"


@pytest.mark.parametrize("forwarded", [[], ["203.0.113.9"], ["203.0.113.9, 203.0.113.8"], ["nonsense"]])
def test_without_trusted_proxies_the_header_is_ignored(forwarded: list[str]) -> None:
    """Without a proxy of ours, whatever the client sends does not change its network."""
    assert client_network(CLIENT, forwarded, 0) == CLIENT


@pytest.mark.parametrize(
    ("forwarded", "trusted"),
    [
        ([CLIENT], 1),
        ([f"203.0.113.9, {CLIENT}"], 1),
        (["203.0.113.9", CLIENT], 1),
        ([f"{CLIENT}, 10.0.0.1"], 2),
        ([f"203.0.113.9, {CLIENT},10.0.0.1"], 2),
        ([f"unknown, {CLIENT}", "10.0.0.1"], 2),
    ],
)
def test_the_entry_of_the_first_trusted_proxy_counts(forwarded: list[str], trusted: int) -> None:
    """Counted from the right, over all header lines, the n-th entry is what the first of n proxies has added."""
    assert client_network(PEER, forwarded, trusted) == CLIENT


@pytest.mark.parametrize(
    ("forwarded", "trusted"),
    [([], 1), ([""], 1), ([CLIENT], 2), (["unknown"], 1), ([f"{CLIENT}, _hidden"], 1), ([f"{CLIENT},"], 1), ([","], 3)],
)
def test_a_missing_or_malformed_entry_counts_for_the_peer(forwarded: list[str], trusted: int) -> None:
    """If the trusted entry is missing or not an address, the network is that of the connection, which has a limit."""
    assert client_network(PEER, forwarded, trusted) == PEER


@given(made_up=st.lists(st.text()), trusted=st.integers(1, 3))
def test_made_up_entries_never_change_the_network(made_up: list[str], trusted: int) -> None:
    """Whatever a client sends in the header, it comes before the entries of the proxies and does not count."""
    appended = [CLIENT, *["10.0.0.1"] * (trusted - 1)]
    assert client_network(PEER, [*made_up, ", ".join(appended)], trusted) == CLIENT
    assert client_network(PEER, [", ".join([*made_up, *appended])], trusted) == CLIENT


@given(peer=st.text(), forwarded=st.lists(st.text()), trusted=st.integers(0, 3))
def test_every_request_has_a_network(peer: str, forwarded: list[str], trusted: int) -> None:
    """No text makes a network that is empty or not in its normal form, so no client is without a limit."""
    network = client_network(peer, forwarded, trusted)
    assert network == UNKNOWN or str(ipaddress.ip_network(network)).removesuffix("/32") == network


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:DB8:0:0::1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1:4711", "192.0.2.1", True),
        ("[2001:db8::1]:4711", "2001:db8::1", True),
        ("fe80::1%eth0", "fe80::1", True),
        ("", "not an address", True),
    ],
)
def test_what_counts_as_one_network(one: str, other: str, same: bool) -> None:
    """An IPv6 address counts with its /64 network, an IPv4 address for itself, with a port or mapped into IPv6 too.

    Connections without an address share one network.
    """
    assert (client_network(one, [], 0) == client_network(other, [], 0)) is same
    assert (client_network("", [one], 1) == client_network("", [other], 1)) is same
