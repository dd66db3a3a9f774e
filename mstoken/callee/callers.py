"""What the callee reads of a request, who can be calling, and which callers a route admits."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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
    """A signed-in user. Times are seconds since the epoch. `role` is the custom claim of that name."""

    uid: str
    role: str | None
    email: str | None
    name: str | None
    issued_at: int
    auth_time: int

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Self:
        """Return the user of a verified ID token with these `claims`. An optional claim that is not text is ignored."""

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
    """A service that calls `audience`; on behalf of `user` if the request also has a user's token.

    `one_time_id` is the id that this call spends: that of a fresh token, or the thumbprint of a key and the id of a
    proof. `issued_at` is when the fresh token was minted or the proof was made, in seconds since the epoch.
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
    """The callers that a route admits.

    `users` is True for all users, False for none, or the set of roles that are admitted. `services` are the names of
    the services that are admitted; with `proof` they must send a proof with each call.
    """

    users: bool | frozenset[str]
    services: frozenset[str]
    proof: bool = False

    @classmethod
    def of(cls, users: bool | Collection[str], services: Collection[str], *, proof: bool = False) -> Self:
        """Return a checked admission. Call it when the route is made, so that a mistake is found at the start.

        Raises ValueError if no caller could ever be admitted, if a string is passed in place of a collection of
        strings, and if proofs are required but no service is admitted.
        """
        if isinstance(users, str) or isinstance(services, str):
            raise ValueError("users and services must be sets of names, such as {'billing'}, not a string")
        admission = cls(
            users if isinstance(users, bool) else frozenset(users),
            frozenset(service_name(name) for name in services),
            proof,
        )
        if not admission.users and not admission.services:
            raise ValueError("this route would refuse every caller: allow users, services, or both")
        if proof and not admission.services:
            raise ValueError("only services send proofs: name the services, or leave proof out")
        return admission

    def admits(self, caller: Caller) -> bool:
        """Return whether the route admits `caller`. A service that acts for a user is admitted as the service only."""
        if isinstance(caller, ServiceCaller):
            return caller.service in self.services
        return self.users if isinstance(self.users, bool) else caller.role in self.users
