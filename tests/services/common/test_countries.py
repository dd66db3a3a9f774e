"""services/common/countries.py"""

from services.common.countries import COUNTRIES


def test_the_list_is_whole() -> None:
    """There are 249 countries in ISO 3166-1, and none of the codes that it leaves to users."""
    assert len(COUNTRIES) == 249
    assert {"US", "DE", "JP", "ZA"} <= COUNTRIES
    assert not {"XX", "ZZ", "UK", "EU"} & COUNTRIES
