"""Taking a JWT apart: one reading of every byte, or none."""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstoken import strict_jwt
from mstoken.wire import MAX_TOKEN_BYTES


def part(text: str | bytes) -> str:
    """`text` as one part of a token."""
    raw = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


HEADER = part('{"alg":"RS256"}')


def token(payload: str | bytes, signature: str = "") -> str:
    """A token with `payload` inside."""
    return f"{HEADER}.{part(payload)}.{signature}"


def test_header_and_payload_come_out() -> None:
    """A well-formed token gives its two objects, what was signed, and with which outcome."""
    payload = '{ "sub" : "svc:billing", "n" : 1.5 }'
    assert strict_jwt.unverified(token(payload, part(b"\xff\x00\xfe"))) == (
        {"alg": "RS256"},
        {"sub": "svc:billing", "n": 1.5},
        f"{HEADER}.{part(payload)}".encode(),
        b"\xff\x00\xfe",
    )


def test_an_empty_signature_is_for_the_verifier_to_judge() -> None:
    """The Auth emulator signs nothing; the third part may be empty here."""
    unsigned = strict_jwt.unverified(token("{}"))
    assert (unsigned.payload, unsigned.signature) == ({}, b"")


@pytest.mark.parametrize(
    ("text", "fault"),
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
        (token('{"sub":"a","sub":"b"}'), "a key stands twice"),
        (token('{"a":{"b":1,"b":2}}'), "a key stands twice"),
        (token('{"exp":NaN}'), "JSON does not have"),
        (token('{"exp":-Infinity}'), "JSON does not have"),
        (token('{"exp":1e400}'), "out of range"),
        (token('{"exp":-1e400}'), "out of range"),
        (token('{"exp":' + "9" * 30 + "}"), "out of range"),
        (token('{"a":' + "[" * 20 + "]" * 20 + "}"), "too deeply"),
        (token('{"a":' + "[" * 2900 + "]" * 2900 + "}"), "too deeply"),
        (f"{HEADER}.{'A' * 9000}.", "longer than"),
    ],
    ids=lambda value: value[:24] if len(value) > 40 else value,
)
def test_odd_tokens_are_refused(text: str, fault: str) -> None:
    """What could be read in two ways is not read at all, and the reason does not repeat the token."""
    with pytest.raises(ValueError, match=fault) as caught:
        strict_jwt.unverified(text)
    assert HEADER not in str(caught.value)


def test_a_token_of_exactly_the_limit_passes() -> None:
    """8 KiB are allowed, one byte more is not."""
    longest = token("{}", "A" * (MAX_TOKEN_BYTES - len(token("{}"))))
    assert len(longest) == 8192
    assert strict_jwt.unverified(longest).payload == {}
    with pytest.raises(ValueError, match="longer than"):
        strict_jwt.unverified(longest + "A")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes it raise anything but ValueError."""
    with contextlib.suppress(ValueError):
        strict_jwt.unverified(text)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_inside_are_read_or_refused(header: bytes, payload: bytes) -> None:
    """Nor do any bytes behind the base64url."""
    with contextlib.suppress(ValueError):
        strict_jwt.unverified(f"{part(header)}.{part(payload)}.")


SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text(), SCALARS | st.text() | st.lists(SCALARS)))
def test_ordinary_claims_survive(claims: dict[str, object]) -> None:
    """Any JSON object of ordinary depth comes out as it went in."""
    text = token(json.dumps(claims))
    if len(text) <= MAX_TOKEN_BYTES:
        assert strict_jwt.unverified(text).payload == claims


@pytest.mark.parametrize(
    ("value", "text"),
    [(b"", ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"foob", "Zm9vYg"), (b"\xfb\xff\xfe", "-__-")],
)
def test_base64url(value: bytes, text: str) -> None:
    """RFC 4648, sections 5 and 10: the other alphabet, and no padding (RFC 7515, section 2)."""
    assert strict_jwt.base64url(value) == text
    assert strict_jwt.base64url_decode(text) == value


@pytest.mark.parametrize(
    "text", ["A", "Zh", "Zm9", "Zg==", "Zg=", "+//+", " Zg", "Z g", "Zg\n", "Zg!", "é", "\ud800", "="]
)
def test_base64url_has_one_spelling(text: str) -> None:
    """Bits to spare, padding, another alphabet and what decoders skip are refused, and not repeated."""
    with pytest.raises(ValueError, match=r"^not (canonical )?base64url$"):
        strict_jwt.base64url_decode(text)


@given(st.binary(), st.text())
def test_base64url_both_ways(value: bytes, text: str) -> None:
    """All bytes survive, and a text that can be decoded is the only one for its bytes."""
    assert strict_jwt.base64url_decode(strict_jwt.base64url(value)) == value
    with contextlib.suppress(ValueError):
        assert strict_jwt.base64url(strict_jwt.base64url_decode(text)) == text


@pytest.mark.parametrize("line", ["Bearer a.b.c", " bEARER   a.b.c\t"])
def test_a_bearer_token_is_read_from_its_header_line(line: str) -> None:
    """The scheme may be in any case, with white space around it (RFC 9110, sections 5.5 and 11.1)."""
    assert strict_jwt.bearer_token([line]) == "a.b.c"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "No Authorization header line."),
        (["Bearer a.b.c", "Bearer a.b.c"], "More than one Authorization header line."),
        (["Basic YTpi"], "Authorization is not of the scheme Bearer."),
        ([""], "Authorization is not of the scheme Bearer."),
        (["Bearera.b.c"], "Authorization is not of the scheme Bearer."),
    ],
)
def test_a_bearer_token_needs_exactly_one_header_line_of_its_scheme(lines: list[str], message: str) -> None:
    """The error says what was wrong and repeats nothing of the header."""
    with pytest.raises(ValueError, match=message.replace(".", r"\.") + "$"):
        strict_jwt.bearer_token(lines)
