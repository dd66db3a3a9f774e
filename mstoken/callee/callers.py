"""What a call brings, who is calling once that is verified, and which of them a route lets in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from mstoken.claims import service_name
from mstoken.wire import Mode


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as far as telling who makes it needs it.

    `path` is what follows the service's base URL, as it was sent: with its escapes, without the query. The rest are the
    values of the header lines `X-MS-TOKEN`, `DPoP` and `Authorization`, one each.
    """

    method: str
    path: str
    service_tokens: Sequence[str]
    proofs: Sequence[str]
    authorizations: Sequence[str]


@dataclass(frozen=True, slots=True)
class UserCaller:
    """A signed-in user. Times are seconds since the epoch; `role` is the custom claim of that name."""

    uid: str
    role: str | None
    email: str | None
    name: str | None
    issued_at: int
    auth_time: int

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Self:
        """The user whose verified ID token has these `claims`; what is not text among them counts as absent."""

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
        )

    def __str__(self) -> str:
        return f"user:{self.uid}"


@dataclass(frozen=True, slots=True)
class ServiceCaller:
    """A service, calling `audience`; for `user`, where a user's token came along.

    `one_time_id` is what this call spends: the fresh token's id, or the key's thumbprint and the proof's id.
    `issued_at` is when the token, or the proof, was made, in seconds since the epoch.
    """

    service: str
    uid: str
    audience: str
    mode: Mode
    one_time_id: str
    issued_at: float
    user: UserCaller | None = None

    def __str__(self) -> str:
        return self.uid


Caller: TypeAlias = UserCaller | ServiceCaller


@dataclass(frozen=True, slots=True)
class Admission:
    """Whom a route lets in: users (all, none, or those of some roles), and services by name, these with a `proof` only
    or with either kind of token.
    """

    users: bool | frozenset[str]
    services: frozenset[str]
    proof: bool = False

    @classmethod
    def of(cls, users: bool | Collection[str], services: Collection[str], *, proof: bool = False) -> Self:
        """Checked once, when the route is made. Raises ValueError where nobody could ever come in, for a string
        in place of a collection of strings, and where proofs are wanted of no service.
        """
        if isinstance(users, str) or isinstance(services, str):
            raise ValueError("a set of names is wanted, such as {'billing'}, not a string")
        admission = cls(
            users if isinstance(users, bool) else frozenset(users),
            frozenset(service_name(name) for name in services),
            proof,
        )
        if not admission.users and not admission.services:
            raise ValueError("this lets nobody in: allow users, services, or both")
        if proof and not admission.services:
            raise ValueError("services have proofs, users have none: name the services, or leave proof out")
        return admission

    def admits(self, caller: Caller) -> bool:
        """Whether the route is for `caller`. A service that acts for a user comes in as the service."""
        if isinstance(caller, ServiceCaller):
            return caller.service in self.services
        return self.users if isinstance(self.users, bool) else caller.role in self.users
