"""Profiles: what the shop stores about users in addition to their Firebase accounts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mstoken import UserCaller
from services.user.errors import UserNotFound

if TYPE_CHECKING:
    from services.user.store import ProfileStore


@dataclass(frozen=True, slots=True)
class Profile:
    """A user's profile. `address` has the fields of `services.common.shapes.Address`."""

    uid: str
    email: str | None = None
    display_name: str | None = None
    phone: str | None = None
    address: Mapping[str, Any] | None = None


class Profiles:
    """The users' profiles. A profile is made when its user is seen for the first time.

    Every call raises `DatabaseUnavailable`.
    """

    def __init__(self, store: "ProfileStore") -> None:
        self._store = store

    async def seen(self, uid: str, email: str | None, display_name: str | None) -> Profile:
        """Return the profile of a user. If there is none, make it from `email` and `display_name`."""
        found = await self._store.get(uid)
        if found is None:
            await self._store.add(Profile(uid, email, display_name))
            found = await self.of(uid)
        return found

    async def of_caller(self, caller: UserCaller) -> Profile:
        """Return the caller's own profile."""
        return await self.seen(caller.uid, caller.email, caller.name)

    async def change(self, caller: UserCaller, changes: Mapping[str, Any]) -> Profile:
        """Set the fields in `changes`, clear those that are None there (as in RFC 7396), and return the profile.

        An address is replaced as a whole, because parts of two addresses do not make one.
        """
        profile = await self.of_caller(caller)
        if not changes:
            return profile
        await self._store.change(caller.uid, changes)
        return await self.of(caller.uid)

    async def of(self, uid: str) -> Profile:
        """Return the profile of any user. Raises `UserNotFound`."""
        found = await self._store.get(uid)
        if found is None:
            raise UserNotFound
        return found
