"""URIs in the one spelling in which they can be compared: what RFC 3986 prints, and what nobody thought of."""

import contextlib
import json
import string
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mstoken.uri import normalized

RFC_3986 = json.loads((Path(__file__).parent / "vectors/rfc3986.json").read_text())
UNRESERVED = string.ascii_letters + string.digits + "-._~"

HOSTS = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?|\[::1\]", fullmatch=True)
SEGMENTS = st.lists(st.text(min_size=1, max_size=8).filter(lambda text: text not in (".", "..")), max_size=4)
"""Parts of a path, as text that is not escaped yet."""


def escaped(segments: list[str]) -> str:
    """A path of `segments`, with no more escapes than are needed."""
    return "/" + "/".join(quote(segment, safe="!$&'()*+,;=:@", errors="surrogatepass") for segment in segments)


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """A URI in normal form, and another spelling of it."""

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
    # What stands in an escape is not unreserved, so it may change its case and nothing else.
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
def test_equivalent_uris_have_one_spelling(uri: str, expected: str) -> None:
    """RFC 3986, sections 5.2.4, 6.2.2 and 6.2.3: its own examples."""
    assert normalized(uri) == expected


@pytest.mark.parametrize(("reference", "target"), RFC_3986["references"]["targets"].items())
def test_dot_segments_are_gone(reference: str, target: str) -> None:
    """RFC 3986, section 5.4: a merged path leads where it says, and neither query nor fragment is kept."""
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
def test_what_is_kept_and_what_goes(uri: str, expected: str) -> None:
    """Ports, empty segments, escapes that mean something and the path's case stay; the rest has one spelling."""
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
def test_what_clients_leave_unescaped_in_a_path_is_escaped(path: str, expected: str) -> None:
    """It is the same as its escape to every server, which undoes escapes once."""
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
        "http\u017f://example.com/",  # upper case makes an S of it
        "http://\u212a/",  # lower case makes a k of it
        "http://example.com/\u212a",
        "http://example\u3002com/",  # a full stop to some
        "http://example.com\uff0fpath",  # a slash to some
        "http://example.com/\ud800",
    ],
    ids=lambda uri: ascii(uri)[:40],
)
def test_what_can_be_read_in_two_ways_is_refused(uri: str) -> None:
    """What is no absolute http or https URI, or names a user, or holds a character that no URI has."""
    with pytest.raises(ValueError):  # noqa: PT011 - the texts of urllib are its own
        normalized(uri)


def test_an_address_of_the_future_keeps_its_brackets() -> None:
    """An IPvFuture literal (RFC 3986, section 3.2.2) is refused, or stays one: it is not the name inside."""
    with contextlib.suppress(ValueError):
        assert normalized("http://[v1.x]/") != normalized("http://v1.x/")


@pytest.mark.parametrize("after", ["?q=a|b", "?q={1}", "?q=`", "?q=\\", "?q=^", "?q=100%", "?q=%zz", "#a|b"])
def test_what_httpx_sends_after_the_path_does_not_matter(after: str) -> None:
    """Query and fragment are cut off, though httpx leaves characters in them that RFC 3986 does not allow."""
    assert normalized(str(httpx.URL(f"http://example.com/products{after}"))) == "http://example.com/products"


@given(spellings())
def test_every_spelling_comes_to_the_same(pair: tuple[str, str]) -> None:
    """Case of scheme and host, escapes, default port, dot segments, query and fragment make no difference."""
    normal, other = pair
    assert normalized(normal) == normal
    assert normalized(other) == normal


@given(SEGMENTS, SEGMENTS)
def test_different_paths_stay_different(one: list[str], other: list[str]) -> None:
    """Two paths that say different things never become one."""
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
def test_any_text_is_normalized_for_good_or_refused(text: str) -> None:
    """No text makes it raise anything but ValueError, and what comes out is normal already."""
    try:
        once = normalized(text)
    except ValueError:
        return
    assert normalized(once) == once


@given(st.sampled_from(["product", "127.0.0.1", "::1"]), st.none() | st.integers(0, 65535), SEGMENTS, st.text())
def test_the_urls_of_httpx_are_uris(host: str, port: int | None, segments: list[str], query: str) -> None:
    """What httpx writes for a URL with an escaped path and any parameters is normal, or can be made so."""
    url = httpx.URL(scheme="http", host=host, port=port, path=escaped(segments))
    with_query = url.copy_merge_params({"q": query.encode("utf-8", "replace").decode()})
    assert normalized(str(with_query)) == normalized(str(url))
