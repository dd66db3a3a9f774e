"""Nonces: each worker knows those of its service, and nobody else can make one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstoken.callee.nonces import NONCE_SECONDS, Nonces
from mstoken.strict_jwt import base64url, base64url_decode

NOW = 1_800_000_000.75
SECRET = "made up for the tests, and no secret"
NONCES = Nonces(SECRET, "product")
NONCE = NONCES.issue(NOW)


def changed(index: int) -> str:
    """The nonce with one bit of the byte at `index` changed."""
    value = bytearray(base64url_decode(NONCE))
    value[index] ^= 1
    return base64url(bytes(value))


def test_a_nonce_counts_for_five_minutes() -> None:
    """For as many calls as come from its issue to 300 seconds later, and not one second more."""
    assert NONCE_SECONDS == 300
    for age_seconds in (0, 1, 300):
        assert NONCES.accepts(NONCE, NOW + age_seconds)
    assert not NONCES.accepts(NONCE, NOW + 301)
    assert not NONCES.accepts(NONCE, NOW + 86_400)


def test_a_clock_that_is_ahead_does_no_harm() -> None:
    """A nonce of a worker whose clock is a little ahead counts at the others."""
    assert NONCES.accepts(NONCES.issue(NOW + 5), NOW)


def test_every_worker_accepts_those_of_the_others() -> None:
    """What counts is the secret, which all workers of a service share, and no memory."""
    another_worker = Nonces(SECRET, "product")
    assert another_worker.accepts(NONCE, NOW)
    assert NONCES.accepts(another_worker.issue(NOW), NOW)


@pytest.mark.parametrize(("secret", "audience"), [(SECRET, "billing"), (SECRET + " ", "product"), ("", "product")])
def test_another_service_or_another_secret_makes_other_nonces(secret: str, audience: str) -> None:
    """Neither accepts those of the other, though the services may share a secret."""
    other = Nonces(secret, audience)
    assert not other.accepts(NONCE, NOW)
    assert not NONCES.accepts(other.issue(NOW), NOW)


def test_a_nonce_is_short_and_fit_for_a_header() -> None:
    """RFC 9449, section 8.1: characters of base64url; one a second, since it only tells the time."""
    assert len(NONCE) == 32
    assert base64url(base64url_decode(NONCE)) == NONCE
    assert NONCES.issue(NOW + 1) != NONCE


@pytest.mark.parametrize("index", range(24))
def test_a_nonce_that_was_changed_does_not_count(index: int) -> None:
    """Neither the time, to make it last, nor the tag over it."""
    assert not NONCES.accepts(changed(index), NOW)


@pytest.mark.parametrize(
    "nonce",
    [
        None,
        "",
        "A",
        "=",
        "nonce",
        "é",
        "\ud800",
        NONCE[:-4],
        NONCE[:8],
        NONCE[:11],
        NONCE[11:],
        NONCE + "AAAA",
        NONCE + "=",
        NONCE + "\n",
        f" {NONCE}",
        f"{NONCE[:9]}!{NONCE[9:]}",
        NONCE.swapcase(),
        NONCE * 2,
        base64url(bytes(24)),
    ],
    ids=lambda nonce: ascii(nonce)[:20],
)
def test_what_is_no_nonce_does_not_count(nonce: str | None) -> None:
    """None at all, no base64url, or too short, too long, in another spelling."""
    assert not NONCES.accepts(nonce, NOW)


@given(st.text() | st.binary(max_size=40).map(base64url))
def test_any_text_is_refused(text: str) -> None:
    """No text is an error of the server, and none is a nonce that nobody issued."""
    assert not NONCES.accepts(text, NOW)


@given(st.integers(0, 2**40), st.integers(0, NONCE_SECONDS))
def test_whatever_the_time_what_was_issued_counts(issued_at: int, age_seconds: int) -> None:
    """At any time a nonce that was just issued is good, and with another second than its own it is not."""
    nonce = NONCES.issue(issued_at)
    assert NONCES.accepts(nonce, issued_at + age_seconds)
    assert not NONCES.accepts(nonce, issued_at + NONCE_SECONDS + 1)
