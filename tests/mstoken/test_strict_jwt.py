"""A JWT is read in one way, or refused."""

import base64
import contextlib
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstoken import strict_jwt
from mstoken.wire import MAX_TOKEN_BYTES


def part(text: str | bytes) -> str:
    """Return `text` as one part of a token."""
    raw = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


HEADER = part('{"alg":"RS256"}')


def token(payload: str | bytes, signature: str = "") -> str:
    """Return a token with this payload."""
    return f"{HEADER}.{part(payload)}.{signature}"


def test_a_well_formed_token_is_read() -> None:
    """The result has the token itself, the header, the payload, the bytes that were signed, and the signature."""
    payload = '{ "sub" : "svc:billing", "n" : 1.5 }'
    encoded = token(payload, part(b"\xff\x00\xfe"))
    assert strict_jwt.unverified(encoded) == (
        encoded,
        {"alg": "RS256"},
        {"sub": "svc:billing", "n": 1.5},
        f"{HEADER}.{part(payload)}".encode(),
        b"\xff\x00\xfe",
    )


def test_the_signature_may_be_empty() -> None:
    """The Auth emulator does not sign tokens. The verifier decides whether an unsigned token is accepted."""
    unsigned = strict_jwt.unverified(token("{}"))
    assert (unsigned.payload, unsigned.signature) == ({}, b"")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "three parts"),
        ("hello", "three parts"),
        ("a.b", "three parts"),
        (token("{}") + "x.y", "three parts"),
        (token("{}") + "AA==", "three parts"),
        (" " + token("{}"), "three parts"),
        (token("{}") + "\n", "three parts"),
        (token("{}") + "," + token("{}"), "three parts"),
        (token("{}") + "+/.", "three parts"),
        (f"{HEADER}.é.", "three parts"),
        (token("{}") + "A", "base64url"),
        (token("{}") + "AB", "canonical"),
        (token("[]"), "not a JSON object"),
        (token("1"), "not a JSON object"),
        (token("{"), "not JSON"),
        (token(b'{"a":"\xff"}'), "not UTF-8"),
        (token('{"sub":"a","sub":"b"}'), "duplicate key"),
        (token('{"a":{"b":1,"b":2}}'), "duplicate key"),
        (token('{"exp":NaN}'), "NaN or Infinity"),
        (token('{"exp":-Infinity}'), "NaN or Infinity"),
        (token('{"exp":1e400}'), "out of range"),
        (token('{"exp":-1e400}'), "out of range"),
        (token('{"exp":' + "9" * 30 + "}"), "out of range"),
        (token('{"a":' + "[" * 20 + "]" * 20 + "}"), "too deeply"),
        (token('{"a":' + "[" * 2900 + "]" * 2900 + "}"), "too deeply"),
        (f"{HEADER}.{'A' * 9000}.", "longer than"),
    ],
    ids=lambda value: value[:24] if len(value) > 40 else value,
)
def test_unusual_tokens_are_refused(text: str, message: str) -> None:
    """A token that could be read in two ways is refused, and the error contains nothing of the token."""
    with pytest.raises(ValueError, match=message) as caught:
        strict_jwt.unverified(text)
    assert HEADER not in str(caught.value)


def test_the_longest_token_has_8_kib() -> None:
    """One byte more is refused."""
    longest = token("{}", "A" * (MAX_TOKEN_BYTES - len(token("{}"))))
    assert len(longest) == 8192
    assert strict_jwt.unverified(longest).payload == {}
    with pytest.raises(ValueError, match="longer than"):
        strict_jwt.unverified(longest + "A")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Random text raises ValueError and no other exception."""
    with contextlib.suppress(ValueError):
        strict_jwt.unverified(text)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_inside_are_read_or_refused(header: bytes, payload: bytes) -> None:
    """Random bytes in base64url raise ValueError and no other exception."""
    with contextlib.suppress(ValueError):
        strict_jwt.unverified(f"{part(header)}.{part(payload)}.")


SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text(), SCALARS | st.text() | st.lists(SCALARS)))
def test_ordinary_claims_are_read(claims: dict[str, object]) -> None:
    """The payload is the JSON object that was encoded."""
    text = token(json.dumps(claims))
    if len(text) <= MAX_TOKEN_BYTES:
        assert strict_jwt.unverified(text).payload == claims


@pytest.mark.parametrize(
    ("value", "text"),
    [(b"", ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"foob", "Zm9vYg"), (b"\xfb\xff\xfe", "-__-")],
)
def test_base64url(value: bytes, text: str) -> None:
    """The examples of RFC 4648, sections 5 and 10, without padding (RFC 7515, section 2)."""
    assert strict_jwt.base64url(value) == text
    assert strict_jwt.base64url_decode(text) == value


@pytest.mark.parametrize(
    "text", ["A", "Zh", "Zm9", "Zg==", "Zg=", "+//+", " Zg", "Z g", "Zg\n", "Zg!", "é", "\ud800", "="]
)
def test_only_canonical_base64url_is_decoded(text: str) -> None:
    """Set bits that are unused, padding, another alphabet, and characters that decoders skip are refused."""
    with pytest.raises(ValueError, match=r"^not (canonical )?base64url$"):
        strict_jwt.base64url_decode(text)


def test_no_other_character_is_base64url() -> None:
    """Not those of base64 (`+`, `/`, `=`), no white space, and none outside of ASCII, at any place of the text."""
    alphabet = string.ascii_letters + string.digits + "-_"
    for character in (chr(code) for code in range(0x180) if chr(code) not in alphabet):
        for text in (character + "AAA", "A" + character + "AA", "AA" + character + "A", "AAA" + character):
            with pytest.raises(ValueError, match=r"^not base64url$"):
                strict_jwt.base64url_decode(text)
            with pytest.raises(ValueError, match=r"^not three parts"):
                strict_jwt.unverified(f"{text}.e30.")
            with pytest.raises(ValueError, match=r"^not three parts"):
                strict_jwt.unverified(f"e30.e30.{text}")


@given(st.binary(), st.text())
def test_base64url_is_reversible(value: bytes, text: str) -> None:
    """Decoding reverses encoding, and encoding reverses decoding."""
    assert strict_jwt.base64url_decode(strict_jwt.base64url(value)) == value
    with contextlib.suppress(ValueError):
        assert strict_jwt.base64url(strict_jwt.base64url_decode(text)) == text


@pytest.mark.parametrize("line", ["Bearer a.b.c", " bEARER   a.b.c\t"])
def test_a_bearer_token_is_read_from_its_header_line(line: str) -> None:
    """The scheme is case-insensitive, and white space around it is ignored (RFC 9110, sections 5.5 and 11.1)."""
    assert strict_jwt.bearer_token([line]) == "a.b.c"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "The request has no Authorization header line."),
        (["Bearer a.b.c", "Bearer a.b.c"], "The request has more than one Authorization header line."),
        (["Basic YTpi"], "The scheme of Authorization is not Bearer."),
        ([""], "The scheme of Authorization is not Bearer."),
        (["Bearera.b.c"], "The scheme of Authorization is not Bearer."),
    ],
)
def test_a_bearer_token_needs_exactly_one_header_line_of_its_scheme(lines: list[str], message: str) -> None:
    """The error says what is wrong, and contains nothing of the header."""
    with pytest.raises(ValueError, match=message.replace(".", r"\.") + "$"):
        strict_jwt.bearer_token(lines)
