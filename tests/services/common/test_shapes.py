"""services/common/shapes.py"""

from typing import Annotated, Any

import pytest
from pydantic import StringConstraints, TypeAdapter, ValidationError

from services.common.shapes import MAX_AMOUNT, PRINTABLE_LINE, Address, Money, Name, Text
from tests.services.shop import ADDRESS

MONEY = TypeAdapter(Money)


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
    assert MONEY.validate_python({"amount": 1.0, "currency": "USD"}) == Money(amount=1, currency="USD")


def test_the_bounds_are_documented() -> None:
    """Whoever reads the JSON Schema knows what an amount may be."""
    amount = MONEY.json_schema()["properties"]["amount"]
    assert (amount["type"], amount["minimum"], amount["maximum"]) == ("integer", 0, MAX_AMOUNT)


@pytest.mark.parametrize("amount", [float("inf"), float("nan"), 1e30, -1, MAX_AMOUNT + 1, 2**70, 1.5, "1", True, None])
def test_what_is_no_amount(amount: object) -> None:
    """An amount is a whole number within bounds, and nothing that looks like one."""
    with pytest.raises(ValidationError):
        MONEY.validate_python({"amount": amount, "currency": "USD"})


@pytest.mark.parametrize("currency", ["usd", "US", "USDX", "U$D", ""])
def test_what_is_no_currency(currency: str) -> None:
    """A currency is three capital letters."""
    with pytest.raises(ValidationError):
        MONEY.validate_python({"amount": 1, "currency": currency})


CONTROLS = [
    *(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))),
    "\u2028",
    "\u2029",
    *"\u202a\u202b\u202c\u202d\u202e",
    *"\u2066\u2067\u2068\u2069",
]
"""C0 and C1 controls, separators of lines and paragraphs, and controls of the direction of text."""
LINES = TypeAdapter[str](Name), TypeAdapter[str](Annotated[str, StringConstraints(pattern=PRINTABLE_LINE)])
TEXT = TypeAdapter[str](Text)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: f"U+{ord(control):04X}")
def test_control_characters_are_refused(control: str) -> None:
    """A control character is refused in every line of text, and in longer text except for tab and line break."""
    for line in LINES:
        with pytest.raises(ValidationError):
            line.validate_python(f"a{control}b")
    if control in "\t\n\r":
        assert TEXT.validate_python(f"a{control}b") == f"a{control}b"
    else:
        with pytest.raises(ValidationError):
            TEXT.validate_python(f"a{control}b")


@pytest.mark.parametrize(
    "name",
    [
        "Zoë Ångström",
        "O\u2019Neill\u00a0Jr",
        "李小龍",
        "שָׁלוֹם",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f469\u200d\U0001f467",
    ],
)
def test_names_of_all_scripts_are_accepted(name: str) -> None:
    """Letters of all scripts are accepted, with the joiners that some scripts and emoji need."""
    for accepts in (*LINES, TEXT):
        assert accepts.validate_python(name) == name
