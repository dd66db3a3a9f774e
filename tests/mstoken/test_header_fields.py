"""Header fields that another party wrote: everything that their RFCs allow is read."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstoken.header_fields import (
    MAX_SECONDS,
    Challenge,
    cache_directives,
    challenges,
    delta_seconds,
    http_date,
    retry_after_seconds,
)

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
TOKENS = st.text(TOKEN_CHARACTERS, min_size=1, max_size=8)
TEXTS = st.text([chr(code) for code in (9, *range(32, 127), 0x80, 0xE9, 0xFF)], max_size=12)
TOKEN68 = st.from_regex(r"\A[A-Za-z0-9\-._~+/]{1,8}={0,2}\Z")
WHITESPACE = st.text(" \t", max_size=2)


@st.composite
def quoted(draw: st.DrawFn, value: str) -> str:
    """Return `value` as a quoted string, in which any character may have a backslash (RFC 9110, section 5.6.4)."""
    escaped = (f"\\{letter}" if letter in '"\\' or draw(st.booleans()) else letter for letter in value)
    return f'"{"".join(escaped)}"'


@st.composite
def any_case(draw: st.DrawFn, name: str) -> str:
    return "".join(draw(st.sampled_from([letter.upper(), letter.lower()])) for letter in name)


@st.composite
def argument(draw: st.DrawFn, value: str) -> str:
    """Return `value` as a token if it is one, or as a quoted string."""
    is_token = value and all(letter in TOKEN_CHARACTERS for letter in value)
    return value if is_token and draw(st.booleans()) else draw(quoted(value))


@st.composite
def comma(draw: st.DrawFn) -> str:
    """Return what may stand between the elements of a list: commas, of which some have nothing between them."""
    parts = [draw(WHITESPACE) for _ in range(draw(st.integers(2, 4)))]
    return ",".join(parts)


@st.composite
def written(draw: st.DrawFn, challenge: Challenge) -> str:
    """Return one of the ways to write a challenge (RFC 9110, section 11.3)."""
    scheme = draw(any_case(challenge.scheme))
    if challenge.token68 is not None:
        return f"{scheme} {challenge.token68}"
    parameters = [
        f"{draw(any_case(name))}{draw(WHITESPACE)}={draw(WHITESPACE)}{draw(argument(value))}"
        for name, value in challenge.parameters.items()
    ]
    if not parameters:
        return scheme
    text = scheme + " " * draw(st.integers(1, 3)) + parameters[0]
    for parameter in parameters[1:]:
        text += draw(comma()) + parameter
    return text


CHALLENGES = st.builds(
    lambda scheme, parameters, token68: Challenge(scheme.lower(), {} if token68 else parameters, token68),
    TOKENS,
    st.dictionaries(TOKENS.map(str.lower), TEXTS, max_size=3),
    st.none() | TOKEN68,
)


class TestChallenges:
    """The challenges of a server."""

    @given(st.data(), st.lists(CHALLENGES, max_size=4))
    def test_any_spelling(self, data: st.DataObject, expected: list[Challenge]) -> None:
        """Challenges are read from one line or from several, with any case, white space, quotes and empty elements."""
        lines: list[str] = []
        for challenge in expected:
            text = data.draw(written(challenge))
            goes_on: bool = data.draw(st.booleans())
            if lines and goes_on:
                lines[-1] += data.draw(comma()) + text
            else:
                lines.append(str(data.draw(st.sampled_from(["", ",", " , "]))) + text)
        if lines:
            lines[-1] += data.draw(st.sampled_from(["", ",", " ,,"]))
        assert challenges(lines) == expected

    @given(st.lists(st.text('abcDPoP =,"\\\t\xe9', max_size=20), max_size=3))
    def test_any_text(self, lines: Sequence[str]) -> None:
        """No text makes it fail."""
        assert all(challenge.scheme for challenge in challenges(lines))

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            ([], []),
            ([""], []),
            (["Negotiate"], [Challenge("negotiate")]),
            (["Negotiate YWJj=="], [Challenge("negotiate", {}, "YWJj==")]),
            (['Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"'], None),
            (['DPoP error="use_dpop_nonce", algs="ES256 RS256"'], None),
        ],
    )
    def test_examples(self, lines: list[str], expected: list[Challenge] | None) -> None:
        """The examples of RFC 9110 (section 11.6.1) and RFC 9449 (section 9) are read."""
        found = challenges(lines)
        if expected is not None:
            assert found == expected
        elif lines[0].startswith("Newauth"):
            parameters = {"realm": "apps", "type": "1", "title": 'Login to "apps"'}
            assert found == [Challenge("newauth", parameters), Challenge("basic", {"realm": "simple"})]
        else:
            assert found == [Challenge("dpop", {"error": "use_dpop_nonce", "algs": "ES256 RS256"})]

    @pytest.mark.parametrize(
        "line",
        [
            'MsToken realm="x", error="token_stale',
            "MsToken realm=x, error=",
            'MsToken realm="x" error="token_stale"',
            'MsToken abc, error="token_stale"',
            'MsToken realm="a\x00b"',
        ],
    )
    def test_a_syntax_error(self, line: str) -> None:
        """A challenge with a syntax error is ignored. What stands before it is read, and so are other lines."""
        before, after = Challenge("basic", {"realm": "a"}), Challenge("digest")
        assert challenges([f"Basic realm=a, {line}", "Digest"]) == [before, after]

    def test_a_repeated_parameter(self) -> None:
        """The first one counts."""
        assert challenges(["Basic a=1, A=2"]) == [Challenge("basic", {"a": "1"})]


class TestCacheDirectives:
    """The directives of a cache."""

    @given(st.data(), st.dictionaries(TOKENS.map(str.lower), TEXTS, max_size=4))
    def test_any_spelling(self, data: st.DataObject, expected: dict[str, str]) -> None:
        """Directives are read with any case, white space, quotes and empty elements, from any number of lines."""
        lines = [""]
        for name, value in expected.items():
            text = data.draw(any_case(name))
            if value or data.draw(st.booleans()):
                text += f"={data.draw(argument(value))}"
            if data.draw(st.booleans()):
                lines.append(text)
            else:
                lines[-1] += data.draw(comma()) + text
        assert cache_directives(lines) == expected

    @given(st.lists(st.text('ab =,"\\\t\xe9', max_size=20), max_size=3))
    def test_any_text(self, lines: Sequence[str]) -> None:
        """No text makes it fail."""
        assert all(cache_directives(lines))

    def test_an_example(self) -> None:
        """This is what Google sends with its certificates, in another spelling."""
        lines = ['PUBLIC, Max-Age="19245",must-revalidate', "no-transform, max-age=1, x-max-age=5"]
        assert cache_directives(lines) == {
            "public": "",
            "max-age": "19245",
            "must-revalidate": "",
            "no-transform": "",
            "x-max-age": "5",
        }


class TestSeconds:
    """Numbers of seconds and times."""

    @pytest.mark.parametrize(
        ("value", "seconds"), [("0", 0), ("007", 7), (" 5\t", 5), ("9" * 30, MAX_SECONDS), ("9" * 5000, MAX_SECONDS)]
    )
    def test_seconds(self, value: str, seconds: float) -> None:
        """A large number counts as 2^31."""
        assert delta_seconds(value) == seconds

    @pytest.mark.parametrize("value", ["", "-1", "+1", "1.5", "1e3", "²", "٣", "1 2", "soon", "Infinity"])
    def test_no_seconds(self, value: str) -> None:
        """Anything else is not a number of seconds."""
        assert delta_seconds(value) is None

    @pytest.mark.parametrize(
        "value",
        [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT\t",
        ],
    )
    def test_dates(self, value: str) -> None:
        """All three formats of HTTP are read (RFC 9110, section 5.6.7)."""
        assert http_date(value) == 784111777

    @given(st.text() | st.text("SunNov,: 0123456789GMT-+"))
    def test_any_text(self, value: str) -> None:
        """No text makes it fail."""
        found = http_date(value)
        assert found is None or math.isfinite(found)

    @pytest.mark.parametrize(
        ("lines", "dates", "seconds"),
        [
            (["120"], [], 120),
            (["Fri, 31 Dec 1999 23:59:59 GMT"], [], 59),
            (["Fri, 31 Dec 1999 23:59:59 GMT"], ["Fri, 31 Dec 1999 23:59:49 GMT"], 10),
            (["Fri, 31 Dec 1999 23:59:59 GMT"], ["broken"], 59),
            (["Fri, 31 Dec 1999 23:58:59 GMT"], [], 0),
            (["soon"], [], 0),
            ([], [], 0),
            (["1", "2"], [], 0),
        ],
    )
    def test_retry_after(self, lines: list[str], dates: list[str], seconds: float) -> None:
        """It is a number of seconds, or a date, which is compared with the date of the answer."""
        assert retry_after_seconds(lines, dates, now=946684740.0) == seconds
