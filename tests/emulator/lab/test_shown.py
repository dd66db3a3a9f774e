"""What the lab shows of requests: readable, and never usable."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.lab.shown import LONGEST_SHOWN, cut, show_request, show_text
from mstoken.strict_jwt import base64url

SIGNATURE = base64url(bytes(range(64)))


def jwt(header: object, payload: object, signature: str = SIGNATURE) -> str:
    """Return a token with these parts."""
    return ".".join([*(base64url(json.dumps(part).encode()) for part in (header, payload)), signature])


TOKEN = jwt({"alg": "RS256", "kid": "k" * 40}, {"sub": "svc:billing", "ms": {"aud": "product", "jti": "A" * 22}})


def test_a_token_is_decoded_and_its_signature_is_not_shown() -> None:
    """The claims say what the attack is about. No part of the request could be used as a token."""
    shown = show_request(f"GET / HTTP/1.1\r\nX-MS-TOKEN: {TOKEN}\r\n\r\n".encode())
    (token,) = shown.tokens
    assert token.line == "X-MS-TOKEN"
    assert '"alg": "RS256"' in token.header
    assert '"sub": "svc:billing"' in token.payload
    assert '"jti": "AAAAAAAAAAAAAAAAAAAAAA"' in token.payload
    assert token.signature == "86 characters, not shown"
    everything = shown.text + token.header + token.payload
    assert SIGNATURE[:20] not in everything
    assert all(part[:20] not in everything for part in TOKEN.split("."))


def test_an_unsigned_token_says_so() -> None:
    """Nothing is hidden that is not there."""
    (token,) = show_request(f"X-MS-TOKEN: {jwt({'alg': 'none'}, {}, '')}".encode()).tokens
    assert token.signature == "none"


def test_every_token_of_a_request_is_decoded() -> None:
    """Also two on one line, and the proof."""
    request = f"X-MS-TOKEN: {TOKEN},{TOKEN}\r\nDPoP: {TOKEN}\r\nAuthorization: Bearer {TOKEN}".encode()
    assert [token.line for token in show_request(request).tokens] == [
        "X-MS-TOKEN",
        "X-MS-TOKEN",
        "DPoP",
        "Authorization",
    ]


@pytest.mark.parametrize(
    "value",
    [
        b"a.b.c",
        b"...",
        b"AAAA.AAAA.AAAA",
        "ä.ö.ü".encode(),
        b"W10.e30.x" * 1000,
        base64url(b'{"x":' * 2000).encode() + b".e30.x",
        base64url(b"[1" + b"0" * 5000 + b"]").encode() + b".e30.x",
    ],
    ids=["letters", "dots", "zeros", "not ASCII", "long", "nested", "digits"],
)
def test_what_cannot_be_decoded_is_no_error(value: bytes) -> None:
    """Attacks contain anything."""
    shown = show_request(b"X-MS-TOKEN: " + value)
    assert shown.text.startswith("X-MS-TOKEN: ")
    assert len(shown.text) < 500


@given(st.binary(max_size=400))
def test_no_bytes_are_an_error(raw: bytes) -> None:
    """A page shows every request."""
    shown = show_request(raw)
    assert "\r" not in shown.text
    assert "\0" not in shown.text


@given(st.binary(min_size=18, max_size=80))
def test_a_secret_of_any_length_is_cut(secret: bytes) -> None:
    """Whatever could be a key or a signature is shown only in part, unless it looks like words."""
    text = base64url(secret)
    shown = cut(text)
    assert shown == text or text not in shown
    if any(character.isdigit() for character in text):
        assert len(shown) <= LONGEST_SHOWN


def test_words_stay() -> None:
    """The name of a header and a path are not secret."""
    text = "X-Envoy-Expected-Rq-Timeout-Ms: 4704, /reservations/commit, application/problem+json"
    assert cut(text) == text


def test_control_characters_are_visible() -> None:
    """An attack with a bare carriage return would look harmless."""
    assert show_text(b"a\rb\0c\r\nd\xff") == "a␍b␀c\nd\\xff"


def test_long_texts_end() -> None:
    """A page shows the beginning of a very long request, and how long it is."""
    assert show_text(b"a b " * 1000).endswith("… (4000 characters)")
    assert show_text(b"a\r\n" * 1000).endswith("… (1001 lines)")
