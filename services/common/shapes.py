"""Shapes of requests and answers that several services use, and the limits of their values.

The shapes of answers are `TypedDict`s, because pydantic checks and serializes those in a tenth of the time that it
takes to make a model of each object.
"""

from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    with_config,
)
from typing_extensions import TypedDict

from services.common.countries import COUNTRIES

MAX_AMOUNT = 100_000_000
"""Maximum price of one product, in minor units. With the limits of a bill, its total stays within 64 bits."""

_LAYOUT = r"\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""DEL, the C1 controls, line and paragraph separator, and the embeddings, overrides and isolates of text direction.

They break a line or show text in another order than it is stored in, so a name could pass for another one.
Source: Unicode Technical Report 36, "Unicode Security Considerations", section 2.5; UAX 9, section 2."""

_CONTROLS = rf"\x00-\x1f{_LAYOUT}"
_NOT_BLANK_LINE = rf"^[^{_CONTROLS}]*[^\s{_CONTROLS}][^{_CONTROLS}]*$"
_TEXT = rf"^[^\x00-\x08\x0b\x0c\x0e-\x1f{_LAYOUT}]*$"

PRINTABLE_LINE = rf"^[^{_CONTROLS}]+$"
"""A pattern for one line of text without control characters."""


def _line(max_length: int) -> StringConstraints:
    """Accept one line of text that is not blank. Spaces around it are removed."""
    return StringConstraints(min_length=1, max_length=max_length, pattern=_NOT_BLANK_LINE, strip_whitespace=True)


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Makes a strict `int` accept 1.0, which is an integer in JSON Schema (JSON Schema Validation, section 6.1.1).

It must follow the limits in the annotation: before them, pydantic leaves the limits out of the JSON Schema."""

Name = Annotated[str, _line(200)]
TextLine = Annotated[str, _line(200)]
ShortTextLine = Annotated[str, _line(100)]
PostalCode = Annotated[str, _line(20)]
Text = Annotated[str, StringConstraints(max_length=4000, pattern=_TEXT)]
Currency = Annotated[
    str, StringConstraints(pattern="^[A-Z]{3}$"), Field(description="Currency code (ISO 4217).", examples=["USD"])
]


def _check_unicode(secret: SecretStr) -> SecretStr:
    """Refuse half of a surrogate pair, which JSON can spell and UTF-8 cannot encode. pydantic checks `str` only."""
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("not Unicode text") from None
    return secret


SecretText = Annotated[SecretStr, AfterValidator(_check_unicode)]
"""Text that does not appear in logs, tracebacks or answers."""


def _check_country(code: str) -> str:
    if code not in COUNTRIES:
        raise ValueError("not a country code of ISO 3166-1")
    return code


Country = Annotated[
    str,
    Field(
        description="Country code (ISO 3166-1 alpha-2).",
        examples=["US"],
        json_schema_extra={"enum": sorted(COUNTRIES)},
    ),
    AfterValidator(_check_country),
]


class StrictShape(BaseModel):
    """A JSON object in a request: values are not converted to other types, and unknown fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


@with_config(ConfigDict(strict=True, extra="forbid"))
class Money(TypedDict):
    """An amount of money in the minor units of its currency: 19.99 USD is `{"amount": 1999, "currency": "USD"}`."""

    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT), WHOLE]
    currency: Currency


class Sum(TypedDict):
    """A sum of several amounts, in the minor units of its currency."""

    amount: int
    currency: Currency


class Address(StrictShape):
    """A postal address."""

    name: Name
    line1: TextLine
    line2: TextLine | None = None
    city: ShortTextLine
    postal_code: PostalCode
    country: Country
