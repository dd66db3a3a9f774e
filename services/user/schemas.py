"""The shapes of User's requests and answers."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, StringConstraints, with_config
from typing_extensions import TypedDict

from services.common.shapes import Address, Name, SecretText, StrictShape

Email = Annotated[EmailStr, Field(max_length=254), AfterValidator(str.lower)]
"""An e-mail address. Upper and lower case are the same account."""

Password = Annotated[SecretText, Field(min_length=8, max_length=128)]
Phone = Annotated[
    str,
    StringConstraints(pattern=r"^\+[1-9][0-9]{1,14}$"),
    Field(description="A phone number (ITU-T E.164): +, country code, number.", examples=["+15035550142"]),
]


class SignUp(StrictShape):
    """An account to create. Passwords that attackers try first are refused."""

    email: Email
    password: Password
    display_name: Name | None = None


class LogIn(StrictShape):
    """The credentials of an account."""

    email: Email
    password: Annotated[SecretText, Field(min_length=1, max_length=128)]


class Refresh(StrictShape):
    """The refresh token of a session."""

    refresh_token: Annotated[SecretText, Field(min_length=1, max_length=4096)]


class SessionShape(BaseModel):
    """A session. Send `id_token` as `Authorization: Bearer`. It expires after `expires_in` seconds."""

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
    """The fields of a profile to change.

    A field that is left out keeps its value, and null clears it. An address is replaced as a whole.
    """

    display_name: Name | None
    phone: Phone | None
    address: Address | None


class Customer(BaseModel):
    """The name and address of a user, for a bill."""

    model_config = ConfigDict(from_attributes=True)

    uid: str
    name: str | None = Field(validation_alias="display_name")
    address: Address | None
