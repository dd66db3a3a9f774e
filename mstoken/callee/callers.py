"""Who is calling, once it is verified, and which of them a route lets in."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from mstoken.claims import ServiceClaims, service_name


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
    """A service, calling `audience` under the one-time `token_id`; for `user`, where a user's token came along."""

    service: str
    uid: str
    audience: str
    token_id: str
    issued_at: int
    user: UserCaller | None = None

    @classmethod
    def from_claims(cls, ms: ServiceClaims, claims: Mapping[str, Any]) -> Self:
        """The service whose verified ID token has these `claims`, and among them `ms`."""
        return cls(ms.service, ms.uid, ms.audience, ms.token_id, claims["iat"])

    def __str__(self) -> str:
        return self.uid


Caller: TypeAlias = UserCaller | ServiceCaller


@dataclass(frozen=True, slots=True)
class Admission:
    """Whom a route lets in: users (all, none, or those of some roles), and services by name."""

    users: bool | frozenset[str]
    services: frozenset[str]

    @classmethod
    def of(cls, users: bool | Collection[str], services: Collection[str]) -> Self:
        """Checked once, when the route is made. Raises ValueError where nobody could ever come in, or for a string
        in place of a collection of strings.
        """
        if isinstance(users, str) or isinstance(services, str):
            raise ValueError("a set of names is wanted, such as {'billing'}, not a string")
        admission = cls(
            users if isinstance(users, bool) else frozenset(users), frozenset(service_name(name) for name in services)
        )
        if not admission.users and not admission.services:
            raise ValueError("this lets nobody in: allow users, services, or both")
        return admission

    def admits(self, caller: Caller) -> bool:
        """Whether the route is for `caller`. A service that acts for a user comes in as the service."""
        if isinstance(caller, ServiceCaller):
            return caller.service in self.services
        return self.users if isinstance(self.users, bool) else caller.role in self.users
