"""Two spellings of one URI have the same normal form: the examples of RFC 3986, and random URIs."""

import contextlib
import json
import string
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mstoken.uri import escaped as uri_escaped
from mstoken.uri import has_dot_segments, normalized

RFC_3986 = json.loads((Path(__file__).parent / "vectors/rfc3986.json").read_text())
UNRESERVED = string.ascii_letters + string.digits + "-._~"

HOSTS = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?|\[::1\]", fullmatch=True)
SEGMENTS = st.lists(st.text(min_size=1, max_size=8).filter(lambda text: text not in (".", "..")), max_size=4)
"""Segments of a path, without escapes."""


def escaped(segments: list[str]) -> str:
    """Return a path of `segments`, with escapes only where they are needed."""
    return "/" + "/".join(quote(segment, safe="!$&'()*+,;=:@", errors="surrogatepass") for segment in segments)


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """Return a URI in normal form, and another spelling of it."""

    def recased(text: str) -> str:
        return "".join(character.upper() if draw(st.booleans()) else character for character in text)

    def respelled(character: str) -> str:
        return f"%{ord(character):02{draw(st.sampled_from('xX'))}}" if draw(st.booleans()) else character

    scheme, host = draw(st.sampled_from(["http", "https"])), draw(HOSTS)
    port = draw(st.none() | st.integers(1, 65535).filter(lambda port: port not in (80, 443)))
    path = escaped(draw(SEGMENTS))
    own_port = {"http": 80, "https": 443}[scheme]
    other_port = (
        draw(st.sampled_from(["", ":", f":{own_port}"])) if port is None else f":{port:0{draw(st.integers(1, 9))}}"
    )
    # The remaining escapes are of reserved characters, so only their case can differ.
    parts = path.split("%")
    other_path = "".join(respelled(c) if c in UNRESERVED else c for c in parts[0])
    for part in parts[1:]:
        rest = "".join(respelled(c) if c in UNRESERVED else c for c in part[2:])
        other_path += "%" + draw(st.sampled_from([part[:2], part[:2].lower()])) + rest
    detour = draw(st.sampled_from(["", "/.", "/x/..", "/%2e", "/x/%2E%2e", "/./y/../x/.."]))
    after = draw(st.sampled_from(["", "?", "?a=b", "#", "#c", "?a=/../b#c/./d", "?http://other:1/@"]))
    return (
        f"{scheme}://{host}{'' if port is None else f':{port}'}{path}",
        f"{recased(scheme)}://{recased(host)}{other_port}{detour}{other_path}{after}",
    )


@pytest.mark.parametrize(
    ("uri", "expected"), [(uri, group["normalized"]) for group in RFC_3986["equivalent"] for uri in group["uris"]]
)
def test_equivalent_uris_have_one_normal_form(uri: str, expected: str) -> None:
    """The examples of RFC 3986, sections 5.2.4, 6.2.2 and 6.2.3."""
    assert normalized(uri) == expected


@pytest.mark.parametrize(("reference", "target"), RFC_3986["references"]["targets"].items())
def test_dot_segments_are_removed(reference: str, target: str) -> None:
    """The examples of RFC 3986, section 5.4. The query and the fragment are removed too."""
    merged = f"http://a{reference}" if reference.startswith("/") else f"http://a/b/c/{reference}"
    assert normalized(merged) == target.partition("#")[0].partition("?")[0]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://example.com:443", "https://example.com/"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("http://example.com:8001/", "http://example.com:8001/"),
        ("http://example.com:08001/", "http://example.com:8001/"),
        ("http://example.com:65535/", "http://example.com:65535/"),
        ("http://127.0.0.1:8002/products", "http://127.0.0.1:8002/products"),
        ("http://[2001:DB8::1]:8002/", "http://[2001:db8::1]:8002/"),
        ("http://[::1]:80/", "http://[::1]/"),
        ("http://example.com/?", "http://example.com/"),
        ("http://example.com?a=b", "http://example.com/"),
        ("http://example.com#a", "http://example.com/"),
        ("http://example.com//a//", "http://example.com//a//"),
        ("http://example.com/a//../b", "http://example.com/a/b"),
        ("http://example.com/.//a", "http://example.com//a"),
        ("http://example.com/a/%2E%2e/b", "http://example.com/b"),
        ("http://example.com/a%2fb", "http://example.com/a%2Fb"),
        ("http://example.com/a%252Fb", "http://example.com/a%252Fb"),
        ("http://example.com/%2541", "http://example.com/%2541"),
        ("http://example.com/%00", "http://example.com/%00"),
        ("http://example.com/Products", "http://example.com/Products"),
        ("http://example.com/a@b:c", "http://example.com/a@b:c"),
    ],
)
def test_differences_with_a_meaning_are_kept(uri: str, expected: str) -> None:
    """Ports, empty segments, needed escapes and the case of the path are kept. Other differences are removed."""
    assert normalized(uri) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a|b", "/a%7Cb"),
        ("/a%7cb", "/a%7Cb"),
        ('/"<>\\^`{}', "/%22%3C%3E%5C%5E%60%7B%7D"),
        ("/100%", "/100%25"),
        ("/%4", "/%254"),
        ("/%4g", "/%254g"),
        ("/%%34%31", "/%2541"),
        ("/[1]", "/[1]"),
    ],
)
def test_characters_that_clients_leave_unescaped_are_escaped(path: str, expected: str) -> None:
    """A server that decodes the path reads the same characters."""
    assert normalized(f"http://example.com{path}") == f"http://example.com{expected}"
    assert unquote(path) == unquote(expected)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/products",
        "products",
        "//example.com/",
        "example.com",
        "http:",
        "http:/example.com/",
        "http:example.com",
        "http//example.com",
        "ftp://example.com/",
        "httpx://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http:///products",
        "http://?a",
        "http://#a",
        "http://:80/",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://@example.com/",
        "http://:@example.com/",
        "http://example.com%2F@other/",
        "http://example%2Ecom/",
        "http://[fe80::1%25eth0]/",
        "http://example.com:65536/",
        "http://example.com:-1/",
        "http://example.com:+80/",
        "http://example.com:8_0/",
        "http://example.com:80:80/",
        "http://example.com:port/",
        f"http://example.com:{'9' * 5000}/",
        "http://[::1/",
        "http://::1]/",
        "http://[]/",
        "http://[example.com]/",
        "http://[127.0.0.1]/",
        "http://other[::1]/",
        "http://[::1]other/",
        "http://example.com/a b",
        " http://example.com/",
        "http://example.com/ ",
        "http://example.com/\n",
        "\nhttp://example.com/",
        "http://exam\nple.com/",
        "http://example.com/\r\n",
        "http://example.com/\t",
        "http://example.com/\x00",
        "http://example.com/\x7f",
        "http://example.com\\@other/",
        "http://example.com/é",
        "http://exämple.com/",
        "http\u017f://example.com/",  # S in upper case
        "http://\u212a/",  # k in lower case
        "http://example.com/\u212a",
        "http://example\u3002com/",  # some libraries read a full stop
        "http://example.com\uff0fpath",  # some libraries read a slash
        "http://example.com/\ud800",
    ],
    ids=lambda uri: ascii(uri)[:40],
)
def test_other_text_is_refused(uri: str) -> None:
    """Text that is not an absolute http or https URI, has user information, or has characters that URIs cannot have."""
    with pytest.raises(ValueError):  # noqa: PT011 - the texts of urllib are its own
        normalized(uri)


def test_an_ipvfuture_address_is_not_the_name_inside_it() -> None:
    """An IPvFuture literal (RFC 3986, section 3.2.2) is refused, or keeps its brackets."""
    with contextlib.suppress(ValueError):
        assert normalized("http://[v1.x]/") != normalized("http://v1.x/")


@pytest.mark.parametrize("after", ["?q=a|b", "?q={1}", "?q=`", "?q=\\", "?q=^", "?q=100%", "?q=%zz", "#a|b"])
def test_the_query_and_the_fragment_are_removed(after: str) -> None:
    """They are removed even if httpx leaves characters in them that RFC 3986 does not allow."""
    assert normalized(str(httpx.URL(f"http://example.com/products{after}"))) == "http://example.com/products"


@given(spellings())
def test_random_spellings_have_one_normal_form(pair: tuple[str, str]) -> None:
    """Case of scheme and host, needless escapes, default port, dot segments, query and fragment make no difference."""
    normal, other = pair
    assert normalized(normal) == normal
    assert normalized(other) == normal


@given(SEGMENTS, SEGMENTS)
def test_different_paths_stay_different(one: list[str], other: list[str]) -> None:
    """Two paths with different segments never have the same normal form."""
    assume((one or [""]) != (other or [""]))
    assert normalized(f"http://a{escaped(one)}") != normalized(f"http://a{escaped(other)}")


PIECES = st.sampled_from(
    [
        "http",
        "https",
        "HTTP",
        ":",
        "/",
        "//",
        "?",
        "#",
        "@",
        "[",
        "]",
        ".",
        "..",
        "%",
        "%2e",
        "%2F",
        "a",
        "80",
        "::1",
        "é",
    ]
)


@given(st.text() | st.lists(PIECES).map("".join) | st.lists(PIECES).map(lambda pieces: "http://a" + "".join(pieces)))
def test_random_text_is_normalized_once_or_refused(text: str) -> None:
    """Random text raises ValueError and no other exception. A normal form is its own normal form."""
    try:
        once = normalized(text)
    except ValueError:
        return
    assert normalized(once) == once


@given(st.sampled_from(["product", "127.0.0.1", "::1"]), st.none() | st.integers(0, 65535), SEGMENTS, st.text())
def test_the_urls_of_httpx_can_be_normalized(host: str, port: int | None, segments: list[str], query: str) -> None:
    """A URL that httpx writes, with an escaped path and any parameters, has a normal form."""
    url = httpx.URL(scheme="http", host=host, port=port, path=escaped(segments))
    with_query = url.copy_merge_params({"q": query.encode("utf-8", "replace").decode()})
    assert normalized(str(with_query)) == normalized(str(url))


@pytest.mark.parametrize(
    "path",
    [
        *("/.", "/..", "/./", "/../", "/a/./b", "/a/../b", "/a/..", ".", ".."),
        *("/a/%2e/b", "/a/%2E%2e/b", "/a/.%2e", "/a/%2e.", "/a%2f..%2fb", "/a%2F%2e%2E%2Fb", "/a%2f."),
    ],
)
def test_a_segment_of_dots_is_found(path: str) -> None:
    """It is found as it was sent and after one decoding, also if the slashes around it were escaped."""
    assert has_dot_segments(path)


@pytest.mark.parametrize(
    "path",
    ["", "/", "//", "/products", "/.well-known/x", "/a..b", "/a.b/c.", "/...", "/a/..b", "/%252e%252e/b", "/%2e%2e%2e"],
)
def test_other_dots_are_no_segments(path: str) -> None:
    """Names may contain dots. What is escaped twice is still escaped after one decoding."""
    assert not has_dot_segments(path)


@given(st.lists(st.text(alphabet="ab.%2eE/f", max_size=6), max_size=5).map("/".join))
def test_without_dot_segments_a_path_is_the_one_that_is_routed(path: str) -> None:
    """If none is found, the normal form of a path and the path itself are decoded to the same text."""
    if not has_dot_segments(f"/{path}"):
        normal = normalized(f"https://product.example.com/{path}").removeprefix("https://product.example.com")
        assert unquote(normal) == unquote(f"/{path}")


@given(st.text(st.characters(exclude_characters="?#", exclude_categories=["Cs"])))
def test_a_decoded_path_gets_the_escapes_of_the_normal_form(path: str) -> None:
    """It is decoded to the same path, and a proof for its URL is a proof for the URL that was sent."""
    sent = uri_escaped(f"/{path}")
    assert unquote(sent) == f"/{path}"
    if not has_dot_segments(sent):
        assert normalized(f"http://a{sent}") == f"http://a{sent}"


def test_bytes_of_a_decoded_path_that_are_not_utf_8_keep_their_values() -> None:
    """Some servers decode them to surrogates (PEP 383)."""
    assert uri_escaped("/a\udcff") == "/a%FF"
