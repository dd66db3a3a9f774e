"""Signs in as Billing, in turns with a custom token signed here and with one from the token service.

Prints the times of the sign-ins in seconds, as JSON.
"""

import asyncio
import json
import sys
import time

from mstoken import Settings
from mstoken.caller.admin_minter import AdminMinter
from mstoken.caller.connections import Connections
from mstoken.caller.minting import BrokerMinter, Minter
from mstoken.caller.signin import SignIn
from mstoken.claims import ServiceClaims

WARM_UP = 20
SIGN_INS = 300


async def main() -> tuple[list[float], list[float]]:
    """Return the times of the sign-ins, in seconds: with tokens signed here, and with those of the token service."""
    settings = Settings()
    minters: tuple[Minter, Minter] = AdminMinter(settings), BrokerMinter(settings, "billing")
    sign_in = SignIn(settings)
    took: tuple[list[float], list[float]] = [], []
    async with Connections() as connections:
        for turn in range(WARM_UP + SIGN_INS):
            for minter, times in zip(minters, took, strict=True):
                began = time.perf_counter()
                claims = ServiceClaims.fresh("billing", "product", minted_at=time.time())
                await sign_in.exchange(connections, claims.uid, await minter.mint(connections, claims))
                if turn >= WARM_UP:
                    times.append(time.perf_counter() - began)
    return took


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main())))
