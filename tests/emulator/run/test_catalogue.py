"""The content of the demo catalogue."""

from emulator.demo.purchase import BASKET
from emulator.run.catalogue import catalogue


def test_the_catalogue_holds_at_least_forty_different_products() -> None:
    """The catalogue has 40 products or more, each with a unique name, a description, a price in dollars and stock."""
    products = catalogue()
    assert len({product["name"] for product in products}) == len(products) >= 40
    for product in products:
        assert product["description"].endswith(".")
        assert product["price"]["amount"] > 0
        assert product["price"]["currency"] == "USD"
        assert product["stock"] > 0


def test_the_demo_buys_from_the_catalogue() -> None:
    """The catalogue has every product in the demo's basket."""
    assert BASKET.keys() <= {product["name"] for product in catalogue()}
