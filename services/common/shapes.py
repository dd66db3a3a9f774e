"""Shapes that more than one service has on the wire, and the bounds of what they hold."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints

from services.common.countries import COUNTRIES

MAX_AMOUNT = 100_000_000
"""The highest price of one product, in minor units. With a bill's bounds its sums stay within 64 bits."""

_PRINTABLE = r"[^\x00-\x1f\x7f]"
_LINE = rf"^{_PRINTABLE}*[^\s\x00-\x1f\x7f]{_PRINTABLE}*$"
_TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"


def _line(max_length: int) -> StringConstraints:
    """One line of text that is not blank; blanks around it are dropped."""
    return StringConstraints(min_length=1, max_length=max_length, pattern=_LINE, strip_whitespace=True)


def _whole(value: object) -> object:
    """To JSON Schema, as to JSON, 1.0 is an integer (JSON Schema Validation, section 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Marks a strict `int`, behind its bounds: before them, pydantic would leave them out of the JSON Schema."""

Name = Annotated[str, _line(200)]
Line = Annotated[str, _line(200)]
ShortLine = Annotated[str, _line(100)]
PostalCode = Annotated[str, _line(20)]
Text = Annotated[str, StringConstraints(max_length=4000, pattern=_TEXT)]
Currency = Annotated[str, StringConstraints(pattern="^[A-Z]{3}$"), Field(description="ISO 4217.", examples=["USD"])]


def _is_unicode(secret: SecretStr) -> SecretStr:
    """JSON can spell half a surrogate pair, which nothing can pass on. pydantic looks for that in `str` only."""
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("not Unicode text") from None
    return secret


SecretText = Annotated[SecretStr, AfterValidator(_is_unicode)]
"""Text that shows in no log, traceback or answer."""


def _is_a_country(code: str) -> str:
    if code not in COUNTRIES:
        raise ValueError("not a country of ISO 3166-1")
    return code


Country = Annotated[
    str,
    Field(description="ISO 3166-1 alpha-2.", examples=["US"], json_schema_extra={"enum": sorted(COUNTRIES)}),
    AfterValidator(_is_a_country),
]


class Shape(BaseModel):
    """A JSON object as it comes from outside: each value of its own type, and nothing that is not asked for."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Money(Shape):
    """A sum of money, in the currency's minor units: 19.99 USD is `{"amount": 1999, "currency": "USD"}`."""

    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT), WHOLE]
    currency: Currency


class Sum(BaseModel):
    """What several products come to; as `Money`, without the bound of one price."""

    amount: int
    currency: Currency


class Address(Shape):
    """Where something can be delivered."""

    name: Name
    line1: Line
    line2: Line | None = None
    city: ShortLine
    postal_code: PostalCode
    country: Country
