"""Measures what a caller spends on tokens and proofs, and how long a call waits for its token."""

import asyncio
import random
import time

import httpx
from pydantic import SecretStr
from typing_extensions import override

from bench.issuer import PROJECT
from mstoken import ServiceIdentity, Settings
from mstoken.caller.connections import Connections
from mstoken.claims import ServiceClaims

URL = "https://product.example.com/products?limit=20"
REPETITIONS = 500
FIREBASE_SECONDS = 0.12
"""How long a sign-in takes in the simulation, in seconds."""
CALLS_PER_SECOND = 50.0
WARM_UP_SECONDS = 5.0
SECONDS = 20.0
SIGNATURE = "one P-256 signature (cryptography)"
HEADERS = "a proof, and its headers on a request"


class _Minter:
    """Makes custom tokens that are not verified."""

    async def mint(self, connections: Connections, claims: ServiceClaims) -> str:
        return "custom"


class _FarFirebase(httpx.AsyncBaseTransport):
    """Answers each sign-in with an ID token, after `FIREBASE_SECONDS`."""

    sign_ins = 0

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(FIREBASE_SECONDS)
        self.sign_ins += 1
        return httpx.Response(200, json={"idToken": f"{'x' * 900}.{self.sign_ins}"})


def _identity(firebase: _FarFirebase) -> ServiceIdentity:
    settings = Settings(project_id=PROJECT, emulator_host=None, api_key=SecretStr("bench"))
    return ServiceIdentity("billing", settings, minter=_Minter(), transport=firebase)


async def waits() -> tuple[list[float], int]:
    """Return how long each call waited for a fresh token, in seconds, and the number of sign-ins for the calls."""
    firebase = _FarFirebase()
    async with _identity(firebase) as billing:
        waited: list[float] = []

        async def call() -> None:
            began = time.perf_counter()
            await billing.token("product")
            waited.append(time.perf_counter() - began)

        rng = random.Random(1)  # noqa: S311 - calls come at random times, the same times in each run
        ends_at = time.perf_counter() + WARM_UP_SECONDS + SECONDS
        warm_at, skipped = time.perf_counter() + WARM_UP_SECONDS, 0
        async with asyncio.TaskGroup() as calls:
            while (now := time.perf_counter()) < ends_at:
                if now < warm_at:
                    skipped = len(waited)
                calls.create_task(call())
                await asyncio.sleep(rng.expovariate(CALLS_PER_SECOND))
        return waited[skipped:], firebase.sign_ins - skipped
