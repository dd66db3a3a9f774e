"""The page Charts."""

import re

import pytest

from emulator.lab.charts import FIRST, MOST_CODES, STEP_SECONDS, STEPS, charts_of, short, update
from emulator.lab.plots import Chart
from mstoken.caller.fresh import USABLE_SECONDS
from tests.emulator.lab.logged_shop import LoggedShop


@pytest.fixture(autouse=True)
def span_begins(shop: LoggedShop) -> None:
    """A span begins now: what happens now counts in the one that is not over."""
    shop.clock.now -= shop.clock.now % STEP_SECONDS


def charts(shop: LoggedShop) -> dict[str, Chart]:
    shop.read()
    return {chart.id: chart for chart in charts_of(shop.lab)[0]}


def series(chart: Chart) -> dict[str, tuple[float | None, str]]:
    """Return the last value of each series, and what the legend says."""
    return {found.name: (found.values[-1], found.latest) for found in chart.series}


def test_calls_a_second(shop: LoggedShop) -> None:
    """A line for each callee has its calls a second. The span that is not over is not drawn: it would be too low."""
    for at in (-3, -2, -1, 0):
        shop.call(at=at)
    shop.call(at=-1, process="user")
    chart = charts(shop)["calls"]
    assert series(chart) == {"Billing": (0, "0/s"), "Product": (1, "1/s"), "User": (1 / 3, "0.33/s")}
    assert {len(found.values) for found in chart.series} == {STEPS}


def test_verdicts(shop: LoggedShop) -> None:
    """Each bar has the accepted calls and the refused ones by code. The legend has the totals."""
    for _ in range(3):
        shop.call(at=-1)
        shop.call(at=-1, verdict="token_stale")
    shop.call(at=-100, verdict="token_replayed")
    assert series(charts(shop)["verdicts"]) == {
        "accepted": (3, "3 in all"),
        "token_stale": (3, "3 in all"),
        "token_replayed": (0, "1 in all"),
    }


def test_rare_codes_share_a_colour(shop: LoggedShop) -> None:
    """There are a few colours only. The codes that are rarest share one."""
    for number in range(MOST_CODES + 3):
        for _ in range(10 - number):
            shop.call(at=-1, verdict=f"code_{number}")
    found = series(charts(shop)["verdicts"])
    assert len(found) == MOST_CODES + 2
    assert found["other codes"] == (6 + 5 + 4, "15 in all")


def test_verification_times(shop: LoggedShop) -> None:
    """The chart has the median and the 95th percentile of all callees. Without calls there is a gap, not a 0."""
    for _ in range(18):
        shop.call(at=-1, verify_ms=1)
    for _ in range(2):
        shop.call(at=-1, verify_ms=50, process="user")
    chart = charts(shop)["verification"]
    assert list(series(chart)) == ["median", "95th percentile"]
    median, high = (found.values[-1] for found in chart.series)
    assert median == pytest.approx(1, rel=0.03)
    assert high == pytest.approx(50, rel=0.03)
    assert chart.series[0].values[-2] is None


def test_sign_ins(shop: LoggedShop) -> None:
    """A line for each pair of caller and audience has its sign-ins a second."""
    for _ in range(3):
        shop.sign_in(at=-1)
    shop.sign_in(at=-1, process="emulators", audience="billing")
    assert series(charts(shop)["sign-ins"]) == {"Billing → Product": (1, "1/s"), "deliver → Billing": (1 / 3, "0.33/s")}


def test_tokens_in_stock(shop: LoggedShop) -> None:
    """The stock is that of the last sign-in. If none follows for as long as a token is used, it is empty."""
    shop.sign_in(at=-1, in_stock=2)
    shop.sign_in(at=-1, in_stock=7)
    shop.sign_in(at=-1, in_stock=None, audience="user", mode="proof")
    assert series(charts(shop)["stock"]) == {"Billing → Product": (7, "7")}
    shop.clock.advance(USABLE_SECONDS)
    assert series(charts(shop)["stock"]) == {"Billing → Product": (7, "7")}
    shop.clock.advance(STEP_SECONDS)
    assert series(charts(shop)["stock"]) == {"Billing → Product": (0, "0")}


@pytest.mark.parametrize(("mode", "text"), [("proof", "In proof mode there is no stock"), ("fresh", "keeps none")])
def test_an_empty_stock_says_why(tmp_path_factory: pytest.TempPathFactory, mode: str, text: str) -> None:
    """In proof mode there is no stock at all, and the chart says so."""
    shop = LoggedShop(tmp_path_factory.mktemp("shop"), mode=mode)
    assert text in charts(shop)["stock"].empty
    assert text in shop.client().get("/charts").text


def test_every_chart_has_a_table(shop: LoggedShop) -> None:
    """Behind each chart is a table with a row for each span, the newest first, and a column for each series."""
    shop.call(at=-1)
    shop.sign_in(at=-1)
    shop.read()
    page = shop.client().get("/charts").text
    tables = re.findall(r'<table class="compact">.*?</table>', page, re.DOTALL)
    assert len(tables) == len(charts_of(shop.lab)[0]) == 5
    for table in tables:
        assert table.count("<tr>") == STEPS + 1
    first_row = re.findall(r"<td[^>]*>(.*?)</td>", tables[0].split("<tbody>")[1].split("</tr>")[0])
    assert first_row == ["0", "0.33", "0"]
    assert page.count('<svg class="plot wide"') == 5
    assert page.count('<svg class="plot broad"') == 1


def test_a_page_gets_each_span_once_it_is_over(shop: LoggedShop) -> None:
    """The update has the drawing and the table of each chart. A later span has another beginning."""
    found, begins = charts_of(shop.lab)
    sent = update(shop.lab, found, begins)
    assert [chart["id"] for chart in sent] == [FIRST, "verdicts", "verification", "sign-ins", "stock"]
    assert all(chart["figure"].count('<svg class="plot') >= 2 for chart in sent)
    assert all(chart["table"].strip().startswith("<table") for chart in sent)
    shop.clock.advance(1)
    assert charts_of(shop.lab)[1] == begins
    shop.clock.advance(STEP_SECONDS)
    assert charts_of(shop.lab)[1] == begins + STEP_SECONDS


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1 / 3, "0.33"), (0.5, "0.5"), (2.5, "2.5"), (12, "12"), (1200, "1,200"), (1234.5, "1,234.5")],
)
def test_short_numbers(value: float, text: str) -> None:
    """A number has no more digits than one can read."""
    assert short(value) == text
