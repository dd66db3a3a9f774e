"""The demo's purchase: a wrong bill is noticed."""

import pytest

from emulator.errors import Unexpected
from emulator.purchase import check_total


def test_a_right_total_passes() -> None:
    """A total that is the sum of the amounts passes."""
    check_total({"total": {"amount": 300}}, {"cup": 100, "pot": 200})


def test_a_wrong_total_is_told() -> None:
    """A total that is not the sum of the amounts is named, with the sum."""
    with pytest.raises(Unexpected, match="total is 301 where the catalogue's prices come to 300"):
        check_total({"total": {"amount": 301}}, {"cup": 100, "pot": 200})
