"""What the callee reads of a request, who can be calling, and which callers a route admits."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

from mstoken.claims import service_name
from mstoken.wire import Mode


@dataclass(frozen=True, slots=True)
class Call:
    """The parts of one request that tell who makes it.

    `path` is the part of the URL after the service's base URL, as it was sent: with its escapes, without the query.
    `service_tokens`, `proofs` and `authorizations` are the values of the header lines `X-MS-TOKEN`, `DPoP` and
    `Authorization`, one value for each line.
    """

    method: str
    path: str
    service_tokens: Sequence[str]
    proofs: Sequence[str]
    authorizations: Sequence[str]


@dataclass(frozen=True, slots=True)
class UserCaller:
    """A signed-in user. Times are seconds since the epoch. `role` is the custom claim of that name.

    Do not decide by `email` alone: anyone can sign up with an address that belongs to somebody else. Firebase sets
    `email_verified` when the user has followed a link in a mail to that address, or when the sign-in provider, such as
    Google, vouches for it (Firebase, "Manage users").
    """

    uid: str
    role: str | None
    email: str | None
    name: str | None
    issued_at: int
    auth_time: int
    email_verified: bool = False

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Self:
        """Return the user of a verified ID token with these `claims`.

        An optional claim of the wrong type is ignored: only `true` means that the e-mail address is verified.
        """

        def text(name: str) -> str | None:
            value = claims.get(name)
            return value if isinstance(value, str) else None

        return cls(
            uid=claims["sub"],
            role=text("role"),
            email=text("email"),
            name=text("name"),
            issued_at=claims["iat"],
            auth_time=claims["auth_time"],
            email_verified=claims.get("email_verified") is True,
        )

    def __str__(self) -> str:
        return f"user:{self.uid}"


@dataclass(frozen=True, slots=True)
class ServiceCaller:
    """A service that calls `audience`; for `user` if the route admits that, and the request also has a user's token.

    `one_time_id` is the id that this call spends: that of a fresh token, or the thumbprint of a key and the id of a
    proof. `issued_at` is when the fresh token was minted or the proof was made, in seconds since the epoch.
    `next_nonce` is the nonce for its next proofs, if it should use another one: the answer carries it in `DPoP-Nonce`.
    """

    service: str
    uid: str
    audience: str
    mode: Mode
    one_time_id: str
    issued_at: float
    user: UserCaller | None = None
    next_nonce: str | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.uid


Caller: TypeAlias = UserCaller | ServiceCaller


@dataclass(frozen=True, slots=True)
class Admission:
    """The callers that a route admits.

    `users` is True for all users, False for none, or the set of roles that are admitted. `services` are the names of
    the services that are admitted; with `proof` they must send a proof with each call. With `acting_for_user` they may
    send the token of a user beside their own. Without it, `Authorization` of a service is not looked at: it can belong
    to a gateway, or to another library.
    """

    users: bool | frozenset[str]
    services: frozenset[str]
    proof: bool = False
    acting_for_user: bool = False

    @classmethod
    def of(
        cls,
        users: bool | Collection[str] = False,
        services: Collection[str] = (),
        *,
        proof: bool = False,
        acting_for_user: bool = False,
    ) -> Self:
        """Return a checked admission. Call it when the route is made, so that a mistake is found at the start.

        Raises ValueError if no caller could ever be admitted, if a string is passed in place of a collection of
        strings, and if `proof` or `acting_for_user` is set but no service is admitted.
        """
        if isinstance(users, str) or isinstance(services, str):
            raise ValueError("users and services must be sets of names, such as {'billing'}, not a string")
        admission = cls(
            users if isinstance(users, bool) else frozenset(users),
            frozenset(service_name(name) for name in services),
            proof,
            acting_for_user,
        )
        if not admission.users and not admission.services:
            raise ValueError("this route would refuse every caller: allow users, services, or both")
        if proof and not admission.services:
            raise ValueError("only services send proofs: name the services, or leave proof out")
        if acting_for_user and not admission.services:
            raise ValueError("only services act for a user: name the services, or leave acting_for_user out")
        return admission

    def __and__(self, other: "Admission") -> "Admission":
        """Return the admission of the callers that both admit, with what either asks of them."""
        return Admission(
            _in_both(self.users, other.users),
            self.services & other.services,
            self.proof or other.proof,
            self.acting_for_user or other.acting_for_user,
        )

    def admits(self, caller: Caller) -> bool:
        """Return whether the route admits `caller`. A service that acts for a user is admitted as the service only."""
        if isinstance(caller, ServiceCaller):
            return caller.service in self.services
        return self.users if isinstance(self.users, bool) else caller.role in self.users


def _in_both(users: bool | frozenset[str], others: bool | frozenset[str]) -> bool | frozenset[str]:
    """Return the users that are among `users` and among `others`."""
    if isinstance(users, bool):
        return others if users else False
    if isinstance(others, bool):
        return users if others else False
    return users & others
