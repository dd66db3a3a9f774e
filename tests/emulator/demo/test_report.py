"""What the runner prints."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from emulator.demo import report
from emulator.run.logins import LOGINS
from emulator.run.ports import Ports
from emulator.run.stack import Stack


@pytest.mark.parametrize(("amount", "text"), [(1999, "19.99 USD"), (5, "0.05 USD"), (123456, "1,234.56 USD")])
def test_money_is_shown_in_major_units(amount: int, text: str) -> None:
    """An amount in minor units is printed with a decimal point, two digits after it, and the currency."""
    assert report.money({"amount": amount, "currency": "USD"}) == text


def test_addresses_and_passwords_are_not_wrapped() -> None:
    """On a terminal with 80 columns, every address and every password can be copied in one piece.

    The storefront comes first, and then the lab.
    """
    output = io.StringIO()
    stack = Stack(Ports(), Path("/shop"))
    report.show_addresses(Console(file=output, width=80), stack)
    for text in (stack.url("product") + "/docs", stack.function_url("health")):
        assert text in output.getvalue()
    assert re.findall(r"http://\S+", output.getvalue())[:2] == [stack.url("hosting"), stack.url("lab")]
    for login in LOGINS:
        assert login.email in output.getvalue()
        assert login.password in output.getvalue()
