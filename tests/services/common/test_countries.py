"""services/common/countries.py"""

from services.common.countries import COUNTRIES


def test_the_list_is_complete() -> None:
    """There are the 249 codes of ISO 3166-1, and none of the codes that it reserves."""
    assert len(COUNTRIES) == 249
    assert {"US", "DE", "JP", "ZA"} <= COUNTRIES
    assert not {"XX", "ZZ", "UK", "EU"} & COUNTRIES
