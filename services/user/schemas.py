"""The User service's shapes on the wire."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, StringConstraints, with_config
from typing_extensions import TypedDict

from services.common.shapes import Address, Name, SecretText, StrictShape

Email = Annotated[EmailStr, Field(max_length=254), AfterValidator(str.lower)]
"""An e-mail address; upper and lower case are the same account."""

Password = Annotated[SecretText, Field(min_length=8, max_length=128)]
Phone = Annotated[
    str,
    StringConstraints(pattern=r"^\+[1-9][0-9]{1,14}$"),
    Field(description="ITU-T E.164: a plus, the country's code and the number.", examples=["+15035550142"]),
]


class SignUp(StrictShape):
    """A new account."""

    email: Email
    password: Password
    display_name: Name | None = None


class LogIn(StrictShape):
    """Who one is, and how one shows it."""

    email: Email
    password: Annotated[SecretText, Field(min_length=1, max_length=128)]


class Refresh(StrictShape):
    """The refresh token of a log-in."""

    refresh_token: Annotated[SecretText, Field(min_length=1, max_length=4096)]


class SessionShape(BaseModel):
    """A session. Send `id_token` as `Authorization: Bearer`; `expires_in` is its life in seconds."""

    model_config = ConfigDict(from_attributes=True, title="Session")

    uid: str
    id_token: str
    refresh_token: str
    expires_in: int


class ProfileShape(BaseModel):
    """A user's own profile."""

    model_config = ConfigDict(from_attributes=True, title="Profile")

    uid: str
    email: str | None
    display_name: str | None
    phone: str | None
    address: Address | None


@with_config(ConfigDict(strict=True, extra="forbid"))
class ProfileChanges(TypedDict, total=False):
    """What to change: a field that is left out stays, null clears it, an address is replaced as a whole."""

    display_name: Name | None
    phone: Phone | None
    address: Address | None


class BillingParty(BaseModel):
    """What a bill needs to know of a user."""

    model_config = ConfigDict(from_attributes=True)

    uid: str
    name: str | None = Field(validation_alias="display_name")
    address: Address | None
