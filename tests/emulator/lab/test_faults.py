"""The parts of the page Faults that its script gets as HTML."""

import re

from emulator.lab.load import Sale, notices
from emulator.lab.outages import Span
from emulator.lab.strip import draw
from tests.emulator.lab.logged_shop import LoggedShop

SALES = [Sale(990.0, 0.1, 201, ""), Sale(996.0, 2.0, 503, "product_unavailable"), Sale(999.0, 0.3, 201, "")]
SPANS = [Span("f", "Product <stops>", 995.0, 997.0)]


def test_the_strip_has_a_bar_for_each_purchase(shop: LoggedShop) -> None:
    """A bill is a good bar and a failure a bad one, over the band of the fault, whose title is text and not HTML."""
    html = shop.lab.fragment("faults_parts.html", "strip", draw(SALES, SPANS, 1000.0))
    assert re.findall(r'<rect class="([^"]+)"', html) == ["band", "good-bar", "bad-bar", "good-bar"]
    assert "<title>Product &lt;stops&gt;</title>" in html


def test_each_fault_has_a_row_of_what_customers_noticed(shop: LoggedShop) -> None:
    """It says how many purchases failed, with which answers, and when it healed."""
    html = shop.lab.fragment("faults_parts.html", "notices", notices(SPANS, SALES))
    text = re.sub(r"<[^>]+>", " ", html)
    for shown in ("Product &lt;stops&gt;", "2.0 s", "1 of 2 failed", "503 product_unavailable", "after 2.3 s"):
        assert shown in text
    assert "No fault has happened yet." in shop.lab.fragment("faults_parts.html", "notices", [])
