"""Which web pages may send requests to an emulator, by the headers that a browser sends."""

import pytest
from starlette.datastructures import Headers

from mstoken.emulator.web_pages import refusal

LOCAL_HOSTS = ["localhost", "localhost:9100", "LOCALHOST:9100", "127.0.0.1:9100", "127.0.0.1", "[::1]:9100", "[::1]"]
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:9100",
    "127.0.0.1.evil.example:9100",
    "localhost.evil.example",
    "127.0.0.1:9100.evil.example",
    "evil.example@127.0.0.1:9100",
    "127.0.0.2",
    "0.0.0.0:9100",
    "2130706433",
    "::1",
    "[::1]evil.example",
    "[::ffff:127.0.0.1]",
    "localhost:",
    "localhost:port",
    " localhost",
    "",
]
LOCAL_ORIGINS = ["http://localhost", "http://localhost:5000", "http://127.0.0.1:3000", "http://[::1]:5173"]
FOREIGN_ORIGINS = [
    "http://evil.example",
    "https://evil.example:5000",
    "http://localhost.evil.example",
    "http://evil.example:5000/http://localhost",
    "http://localhost@evil.example",
    "http://localhost:5000/",
    "https://localhost:5000",
    "http://app.localhost:5000",
    "chrome-extension://abcdefgh",
    "file://",
    "null",
    "",
]
FOREIGN_PAGES = [
    "http://evil.example/",
    "http://evil.example/http://localhost/",
    "http://localhost.evil.example/",
    "http://localhost@evil.example/",
    "http://localhost:5000@evil.example/",
    "http://localhost",
    "https://localhost:5000/",
    "",
]


def reason(*lines: tuple[str, str], host: str = "127.0.0.1:9100", local_pages: bool = True) -> str | None:
    """Return why a request with these header lines, and with this host, is refused."""
    raw = [(name.lower().encode(), value.encode()) for name, value in (("Host", host), *lines)]
    return refusal(Headers(raw=raw), local_pages=local_pages)


@pytest.mark.parametrize("local_pages", [True, False])
def test_a_program_may_send_requests(local_pages: bool) -> None:
    """A program, such as curl, sends no Origin and no Sec-Fetch-Site. It may use each name of this machine."""
    for host in LOCAL_HOSTS:
        assert reason(host=host, local_pages=local_pages) is None


@pytest.mark.parametrize("local_pages", [True, False])
@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_another_host_is_refused(host: str, local_pages: bool) -> None:
    """A page whose name was given the address 127.0.0.1 is refused by its name (DNS rebinding)."""
    assert "The Host header must be" in str(reason(host=host, local_pages=local_pages))


@pytest.mark.parametrize("origin", LOCAL_ORIGINS)
@pytest.mark.parametrize("site", ["same-origin", "same-site", "cross-site"])
def test_a_local_page_may_send_requests(origin: str, site: str) -> None:
    """For the browser, http://localhost and http://127.0.0.1 are different sites."""
    assert reason(("Origin", origin), ("Sec-Fetch-Site", site)) is None


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_foreign_page_is_refused(origin: str) -> None:
    """It is refused by its Origin, whatever else it sends."""
    for more in [], [("Sec-Fetch-Site", "same-origin")], [("Referer", "http://localhost:5000/")]:
        assert "Only web pages at http://localhost" in str(reason(("Origin", origin), *more))


def test_two_lines_are_refused() -> None:
    """A request with two Host or two Origin lines is refused, even if all of them are local."""
    assert reason(("Host", "127.0.0.1:9100")) is not None
    assert reason(("Origin", "http://localhost"), ("Origin", "http://localhost")) is not None
    assert reason(("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")) is not None


@pytest.mark.parametrize("site", ["none", "same-origin", "same-site"])
def test_a_link_of_a_local_page_may_be_followed(site: str) -> None:
    """Links, images and forms with GET have no Origin. A URL that the user types has Sec-Fetch-Site: none."""
    assert reason(("Sec-Fetch-Site", site)) is None


@pytest.mark.parametrize("site", ["cross-site", "another", ""])
def test_a_link_of_a_foreign_page_is_refused(site: str) -> None:
    """It is refused if its Referer is foreign, or if the page left it out."""
    assert reason(("Sec-Fetch-Site", site)) is not None
    for referer in FOREIGN_PAGES:
        assert reason(("Sec-Fetch-Site", site), ("Referer", referer)) is not None


def test_a_link_between_two_names_of_this_machine_may_be_followed() -> None:
    """The sign-in popup of Firebase's web SDK is opened from http://localhost and served at http://127.0.0.1."""
    for origin in LOCAL_ORIGINS:
        assert reason(("Sec-Fetch-Site", "cross-site"), ("Referer", f"{origin}/cart")) is None


@pytest.mark.parametrize(
    "line",
    [
        ("Origin", "http://evil.example"),
        ("Origin", "http://localhost:5000"),
        ("Origin", "http://127.0.0.1:9100"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Sec-Fetch-Site", "same-origin"),
    ],
)
def test_no_page_may_send_what_only_programs_send(line: tuple[str, str]) -> None:
    """Without `local_pages`, local pages are refused as well."""
    assert "Web pages may not send this request" in str(reason(line, local_pages=False))


def test_a_typed_url_may_be_opened() -> None:
    """A developer may look at a path that only programs use."""
    assert reason(("Sec-Fetch-Site", "none"), local_pages=False) is None
