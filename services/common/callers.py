"""The callers of routes, as dependencies of FastAPI."""

from typing import Annotated

from fastapi import Depends

from mstoken import Caller, UserCaller
from mstoken.fastapi import allow


async def _user(caller: Annotated[Caller, Depends(allow(users=True))]) -> UserCaller:
    assert isinstance(caller, UserCaller)  # noqa: S101 - `allow` admits users only
    return caller


SignedInUser = Annotated[UserCaller, Depends(_user)]
"""Any signed-in user. Services are refused."""
