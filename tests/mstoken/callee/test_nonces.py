"""Each worker accepts the nonces of its service, and only holders of the secret can make them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstoken.callee.nonces import NONCE_SECONDS, Nonces
from mstoken.strict_jwt import base64url, base64url_decode

NOW = 1_800_000_000.75
SECRET = "made up for the tests, not a secret"
NONCES = Nonces(SECRET, "product")
NONCE = NONCES.issue(NOW)


def changed(index: int) -> str:
    """Return the nonce with one bit of the byte at `index` changed."""
    value = bytearray(base64url_decode(NONCE))
    value[index] ^= 1
    return base64url(bytes(value))


def test_a_nonce_is_accepted_for_five_minutes() -> None:
    """It is accepted for any number of calls up to 300 seconds after its issue, and not one second later."""
    assert NONCE_SECONDS == 300
    for age_seconds in (0, 1, 300):
        assert NONCES.accepts(NONCE, NOW + age_seconds)
    assert not NONCES.accepts(NONCE, NOW + 301)
    assert not NONCES.accepts(NONCE, NOW + 86_400)


def test_the_next_nonce_comes_after_half_the_time() -> None:
    """A caller that goes on calling gets it in time. Until then, it uses the nonce that it has."""
    for age_seconds in (-5, 0, 1, 149):
        assert NONCES.after(NONCE, NOW + age_seconds) is None
    for age_seconds in (150, 300):
        following = NONCES.after(NONCE, NOW + age_seconds)
        assert following == NONCES.issue(NOW + age_seconds)


def test_a_nonce_from_a_clock_that_is_ahead_is_accepted() -> None:
    """Workers whose clocks are a little behind accept it too."""
    assert NONCES.accepts(NONCES.issue(NOW + 5), NOW)


def test_each_worker_accepts_the_nonces_of_the_others() -> None:
    """Workers share the secret, and need not share any memory."""
    another_worker = Nonces(SECRET, "product")
    assert another_worker.accepts(NONCE, NOW)
    assert NONCES.accepts(another_worker.issue(NOW), NOW)


@pytest.mark.parametrize(("secret", "audience"), [(SECRET, "billing"), (SECRET + " ", "product"), ("", "product")])
def test_the_nonces_of_another_service_or_secret_are_refused(secret: str, audience: str) -> None:
    """This holds in both directions, also if two services share a secret."""
    other = Nonces(secret, audience)
    assert not other.accepts(NONCE, NOW)
    assert not NONCES.accepts(other.issue(NOW), NOW)


def test_a_nonce_is_short_and_valid_in_a_header() -> None:
    """It consists of base64url characters (RFC 9449, section 8.1), and changes every second."""
    assert len(NONCE) == 32
    assert base64url(base64url_decode(NONCE)) == NONCE
    assert NONCES.issue(NOW + 1) != NONCE


@pytest.mark.parametrize("index", range(24))
def test_a_changed_nonce_is_refused(index: int) -> None:
    """Neither the time nor the HMAC of it can be changed."""
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
def test_other_text_is_refused(nonce: str | None) -> None:
    """A missing value, text that is not base64url, and parts or other spellings of a nonce are refused."""
    assert not NONCES.accepts(nonce, NOW)


@given(st.text() | st.binary(max_size=40).map(base64url))
def test_random_text_is_refused(text: str) -> None:
    """Random text causes no exception, and is never accepted."""
    assert not NONCES.accepts(text, NOW)


@given(st.integers(0, 2**40), st.integers(0, NONCE_SECONDS))
def test_a_nonce_is_accepted_at_any_time_of_issue(issued_at: int, age_seconds: int) -> None:
    """A nonce of any time is accepted for 300 seconds, and refused one second later."""
    nonce = NONCES.issue(issued_at)
    assert NONCES.accepts(nonce, issued_at + age_seconds)
    assert not NONCES.accepts(nonce, issued_at + NONCE_SECONDS + 1)
