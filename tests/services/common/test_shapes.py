"""services/common/shapes.py"""

from typing import Any

import pytest
from pydantic import ValidationError

from services.common.shapes import MAX_AMOUNT, Address, Money
from tests.services.shop import ADDRESS


def test_an_address() -> None:
    """An address is taken with its second line or without, and blanks around its parts are dropped."""
    assert Address.model_validate(ADDRESS).model_dump() == ADDRESS
    without = {name: value for name, value in ADDRESS.items() if name != "line2"}
    assert Address.model_validate(without | {"city": " Portland "}).model_dump() == ADDRESS


@pytest.mark.parametrize(
    "change",
    [
        {"country": "ZZ"},
        {"country": "us"},
        {"city": ""},
        {"city": "   "},
        {"city": None},
        {"line1": "a\0b"},
        {"line1": "a\nb"},
        {"line1": "\ud800"},
        {"line1": "x" * 201},
        {"postal_code": 97201},
        {"planet": "Mars"},
    ],
)
def test_what_is_no_address(change: dict[str, Any]) -> None:
    """Countries that are none, blank or endless lines, control characters and unknown fields are refused."""
    with pytest.raises(ValidationError):
        Address.model_validate(ADDRESS | change)


def test_one_point_nought_is_one() -> None:
    """JSON has one kind of number: 1.0 is as whole as 1."""
    assert Money.model_validate({"amount": 1.0, "currency": "USD"}) == Money(amount=1, currency="USD")


def test_the_bounds_are_documented() -> None:
    """Whoever reads the JSON Schema knows what an amount may be."""
    amount = Money.model_json_schema()["properties"]["amount"]
    assert (amount["type"], amount["minimum"], amount["maximum"]) == ("integer", 0, MAX_AMOUNT)


@pytest.mark.parametrize("amount", [float("inf"), float("nan"), 1e30, -1, MAX_AMOUNT + 1, 2**70, 1.5, "1", True, None])
def test_what_is_no_amount(amount: object) -> None:
    """An amount is a whole number within bounds, and nothing that looks like one."""
    with pytest.raises(ValidationError):
        Money.model_validate({"amount": amount, "currency": "USD"})


@pytest.mark.parametrize("currency", ["usd", "US", "USDX", "U$D", ""])
def test_what_is_no_currency(currency: str) -> None:
    """A currency is three capital letters."""
    with pytest.raises(ValidationError):
        Money.model_validate({"amount": 1, "currency": currency})
