"""The page Calls."""

import re

import pytest

from emulator.lab import calls
from emulator.lab.calls import ROWS, Filters, news, numbers_of
from tests.emulator.lab.logged_shop import LoggedShop


def rows_of(page: str) -> list[list[str]]:
    """Return the texts of the cells of the list of calls."""
    body = page.split('id="calls"')[-1]
    rows = re.findall(r"<tr role=\"row\".*?</tr>", body, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells]


def listed(shop: LoggedShop, query: str = "") -> list[list[str]]:
    return rows_of(shop.client().get(f"/{query}").text)


def test_a_call_is_in_the_list(shop: LoggedShop) -> None:
    """A row has time, caller, audience, mode, age, verdict, code and duration."""
    shop.call()
    shop.request(duration_ms=12.3)
    shop.call(at=1, caller=None, age_seconds=None, verdict="token_untrusted", request_id="r2")
    shop.read()
    refused, accepted = listed(shop)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.0", accepted[0])
    assert accepted[1:] == ["svc:billing", "product", "fresh", "0.5 s", "accepted", "", "12 ms"]
    assert refused[1:] == ["unknown", "product", "fresh", "", "refused", "token_untrusted", "…"]


def test_the_newest_call_is_first_and_the_list_is_short(shop: LoggedShop) -> None:
    """The list has the latest calls only, the newest first."""
    for number in range(ROWS + 5):
        shop.call(at=number, age_seconds=number)
    shop.read()
    rows = listed(shop)
    assert len(rows) == ROWS
    assert rows[0][4] == f"{ROWS + 4:.1f} s"


@pytest.mark.parametrize(
    ("query", "ages"),
    [
        ("", ["1.0 s", "2.0 s", "3.0 s", "4.0 s"]),
        ("?caller=billing", ["1.0 s", "2.0 s"]),
        ("?caller=customers", ["3.0 s"]),
        ("?caller=unknown", ["4.0 s"]),
        ("?audience=user", ["3.0 s"]),
        ("?verdict=accepted", ["1.0 s", "3.0 s"]),
        ("?verdict=refused", ["2.0 s", "4.0 s"]),
        ("?verdict=token_stale", ["2.0 s"]),
        ("?mode=proof", ["4.0 s"]),
        ("?caller=billing&verdict=refused", ["2.0 s"]),
        ("?caller=nothing", []),
        ("?caller=&verdict=&audience=&mode=", ["1.0 s", "2.0 s", "3.0 s", "4.0 s"]),
    ],
)
def test_filters_are_in_the_url(shop: LoggedShop, query: str, ages: list[str]) -> None:
    """The query of the URL says which calls are listed. Its choices are selected in the form."""
    shop.call(age_seconds=1)
    shop.call(age_seconds=2, verdict="token_stale")
    shop.call(age_seconds=3, process="user", caller="user:maya", mode="user")
    shop.call(age_seconds=4, caller=None, mode="proof", verdict="proof_invalid")
    shop.read()
    page = shop.client().get(f"/{query}").text
    assert sorted(row[4] for row in rows_of(page)) == ages
    selected = dict(
        re.findall(r'<select id="filter-(\w+)"(?:(?!</select>).)*<option value="([^"]+)" selected', page, re.DOTALL)
    )
    assert selected == dict(pair.split("=") for pair in query[1:].split("&") if pair.split("=")[-1])


def test_an_empty_list_says_why(shop: LoggedShop) -> None:
    """Without calls, the page says how to make some. With filters, it says that none matches."""
    assert "Buy something in the storefront" in shop.client().get("/").text
    assert "No call matches these filters yet." in shop.client().get("/?mode=proof").text


def test_what_a_client_sent_is_escaped(shop: LoggedShop) -> None:
    """A record may repeat what a client sent. It is a text on every page, and never markup."""
    attack = "<script>alert(1)</script>"
    shop.call(reason=attack, verdict=attack, caller=attack, request_id=attack)
    shop.request(path=attack, request_id=attack)
    events = shop.read()
    number = events[0].id
    pages = [shop.client().get(path).text for path in ("/", f"/calls/{number}", f"/?caller={attack}&mode={attack}")]
    pages += [str(data) for _, data in news(shop.lab, Filters(), events)]
    for page in pages:
        assert "<script>alert" not in page
    assert "&lt;script&gt;" in pages[0]


def test_the_way_of_a_call(shop: LoggedShop) -> None:
    """A call has a page with its facts, and the hops from the sign-in to the answer."""
    shop.log("billing", "identity token", at=-1.03, took_ms=5)
    shop.sign_in(at=-1)
    shop.call()
    shop.request(at=0.004)
    [number] = [event.id for event in shop.read() if hasattr(event, "verdict")]
    page = shop.client().get(f"/calls/{number}").text
    for text in ("metadata server", "function token", "Firebase Auth", "verification", "GET /products", "0a1b2c3d"):
        assert text in page
    assert "The token was kept for 9" in page
    assert "The audit record of the token service about this token is not in the logs." in page


def test_a_replayed_call_links_to_the_first_one(shop: LoggedShop) -> None:
    """The page of a call lists the others with the same token: at most one of them was accepted."""
    shop.call()
    shop.call(at=1, verdict="token_replayed", request_id="r2")
    shop.call(at=2, token="ffffffff", request_id="r3")
    first, second, _ = (event.id for event in shop.read())
    assert f'href="/calls/{second}"' in shop.client().get(f"/calls/{first}").text
    page = shop.client().get(f"/calls/{second}").text
    assert f'href="/calls/{first}"' in page
    assert page.count('href="/calls/') == 1


def test_calls_with_one_bound_token_are_not_the_same_call(shop: LoggedShop) -> None:
    """In proof mode all calls of an hour have one token. The proof tells them apart."""
    for number in range(3):
        shop.call(mode="proof", one_time_id=f"key.{min(number, 1)}", request_id=str(number))
    first, second, third = (event.id for event in shop.read())
    assert 'href="/calls/' not in shop.client().get(f"/calls/{first}").text
    assert f'href="/calls/{third}"' in shop.client().get(f"/calls/{second}").text


@pytest.mark.parametrize("number", ["7", "999999999999999999999"])
def test_a_call_that_is_gone(shop: LoggedShop, number: str) -> None:
    """A call that is not kept is a page with the status 404, which says why."""
    answer = shop.client().get(f"/calls/{number}")
    assert answer.status_code == 404
    assert "This call is gone" in answer.text


def test_new_calls_are_sent_as_rows(shop: LoggedShop) -> None:
    """A page hears about new calls that its filters admit, and which lines of the picture were busy."""
    shop.call()
    shop.call(verdict="token_stale", process="user", request_id="r2")
    events = shop.read()
    sent = dict(news(shop.lab, Filters(verdict="refused"), events))
    assert [row[2] for row in rows_of(f'id="calls"{sent["calls"]["html"]}')] == ["user"]
    assert sent["calls"]["count"] == 1
    assert sent["hops"] == {"hops": ["billing-product", "billing-user"], "refused": ["billing-user"]}


def test_an_answer_that_comes_later_is_sent_for_its_row(shop: LoggedShop) -> None:
    """A call that was sent without its duration gets it when the request is answered."""
    shop.call()
    [call] = shop.read()
    shop.request(duration_ms=25)
    assert news(shop.lab, Filters(), shop.read()) == [("answers", [{"id": call.id, "took": "25 ms"}])]
    shop.request(path="/login", request_id="r9")
    assert news(shop.lab, Filters(), shop.read()) == []


def test_a_flood_of_calls_is_cut(shop: LoggedShop) -> None:
    """A page gets the newest rows only, and the number of all."""
    for number in range(ROWS + 20):
        shop.call(at=number / 100, age_seconds=number)
    sent = dict(news(shop.lab, Filters(), shop.read()))
    rows = rows_of(f'id="calls"{sent["calls"]["html"]}')
    assert (len(rows), sent["calls"]["count"]) == (ROWS, ROWS + 20)
    assert rows[0][4] == f"{ROWS + 19:.1f} s"


def test_the_numbers_of_the_picture(shop: LoggedShop) -> None:
    """The script gets the words for each line and each part, and the rows of the table."""
    shop.call()
    shop.read()
    numbers = numbers_of(shop.lab)
    assert numbers["hops"]["billing-product"]["rate"] == "1/min"
    assert numbers["notes"]["product"] == "checks in 2.0 ms"
    assert numbers["rows"].count("<tr>") == len(numbers["hops"])


def test_the_query_of_filters() -> None:
    """Only filters that were chosen are in a URL."""
    assert Filters().query == ""
    assert Filters(caller="billing", mode="fresh").query == "?caller=billing&mode=fresh"
    assert calls.PAGE.path == "/"


def test_the_address_of_a_call_without_its_number(shop: LoggedShop) -> None:
    """It leads to the list of calls."""
    answer = shop.client().get("/calls", follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (307, "/")


@pytest.mark.parametrize("path", ["/nothing", "/calls/x/y", "/static/nothing"])
def test_a_page_that_does_not_exist(shop: LoggedShop, path: str) -> None:
    """A browser gets a page with the navigation, and a script gets JSON. Both have the status 404."""
    client = shop.client()
    page = client.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, follow_redirects=False)
    assert page.status_code == 404
    assert "<h1>Page not found</h1>" in page.text
    assert 'href="/charts"' in page.text
    answer = client.get(path, headers={"Accept": "*/*"})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
