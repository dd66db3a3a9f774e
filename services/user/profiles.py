"""What the shop knows of a user beside the account: the profile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mstoken import UserCaller
from services.user.errors import UserNotFound


@dataclass(frozen=True, slots=True)
class Profile:
    """A user's profile. `address` is an address as it stands on the wire."""

    uid: str
    email: str | None = None
    display_name: str | None = None
    phone: str | None = None
    address: Mapping[str, Any] | None = None


class Store(Protocol):
    """Where profiles are kept; see `services.user.store`."""

    async def get(self, uid: str) -> Profile | None: ...  # noqa: D102

    async def add(self, profile: Profile) -> None: ...  # noqa: D102

    async def change(self, uid: str, changes: Mapping[str, Any]) -> None: ...  # noqa: D102


class Profiles:
    """The users' profiles. Each is made the first time that its user is seen, from what Firebase knows."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def seen(self, uid: str, email: str | None, display_name: str | None) -> Profile:
        """The profile of a user who is here, made of `email` and `display_name` if there was none."""
        found = await self._store.get(uid)
        if found is None:
            await self._store.add(Profile(uid, email, display_name))
            found = await self.of(uid)
        return found

    async def of_caller(self, caller: UserCaller) -> Profile:
        """The caller's own profile."""
        return await self.seen(caller.uid, caller.email, caller.name)

    async def change(self, caller: UserCaller, changes: Mapping[str, Any]) -> Profile:
        """Sets the fields that `changes` names, and clears those that are None there (after RFC 7396).

        An address is replaced as a whole: half of an old one and half of a new one is nowhere.
        """
        profile = await self.of_caller(caller)
        if not changes:
            return profile
        await self._store.change(caller.uid, changes)
        return await self.of(caller.uid)

    async def of(self, uid: str) -> Profile:
        """The profile of any user. Raises `UserNotFound` for one who was never here."""
        found = await self._store.get(uid)
        if found is None:
            raise UserNotFound
        return found
