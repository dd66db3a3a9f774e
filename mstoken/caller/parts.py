"""The parts of a service identity: what it signs in with, as its settings say."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

import httpx

from mstoken.caller.connections import Connections
from mstoken.caller.minting import Minter, default_minter
from mstoken.caller.process import ProcessTokens
from mstoken.caller.signin import SignIn
from mstoken.settings import Settings
from mstoken.wire import Mode


@dataclass(frozen=True, slots=True)
class IdentityParts:
    """What a service identity signs in with. `mode` is the mode of calls that name none.

    `clock` returns seconds since the epoch, `sleep` takes seconds.
    """

    mode: Mode
    sign_in: SignIn
    minter: Minter
    transport: httpx.AsyncBaseTransport | None
    may_use_proxies: bool
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]

    @classmethod
    def of(
        cls,
        service: str,
        settings: Settings,
        minter: Minter | None,
        transport: httpx.AsyncBaseTransport | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> Self:
        """Return new parts. Raise `SettingsError` for settings that cannot work."""
        return cls(
            mode=settings.mode,
            sign_in=SignIn(settings, sleep=sleep),
            minter=minter or default_minter(settings, service, sleep),
            transport=transport,
            may_use_proxies=settings.emulator_host is None,
            clock=clock,
            sleep=sleep,
        )

    def tokens(self, service: str) -> ProcessTokens:
        """Return an empty stock of tokens of `service`, for one process."""
        return ProcessTokens(
            service,
            self.minter,
            self.sign_in,
            connections=Connections(transport=self.transport, may_use_proxies=self.may_use_proxies),
            clock=self.clock,
            sleep=self.sleep,
        )
