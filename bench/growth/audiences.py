"""Audiences: what one call costs when a caller calls thousands of services, and when the policy has thousands.

- A caller has a bound token for each audience. Measured is what a call gets: the token of its audience, and a proof.
- The token service finds the account of the caller in its policy, and whether it may call the audience.
- A callee looks whether its route admits the caller.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import httpx
import psutil
from pydantic import SecretStr
from typing_extensions import override

from bench.growth.names import AUDIENCE, AUDIENCE_MEMORY
from bench.issuer import PROJECT
from bench.measure import quiet_garbage_collector
from bench.results import Measurement, Plan
from mstoken import ServiceIdentity, Settings
from mstoken.callee.callers import Admission, ServiceCaller
from mstoken.caller.connections import Connections
from mstoken.claims import ServiceClaims
from mstoken.issuer.policy import Policy

SIZES = (1, 100, 1_000)
LARGE_SIZES = (*SIZES, 10_000)
ROUNDS, CALLS = 15, 100
AT_ONCE = 50
"""How many sign-ins of the caller run at the same time."""
URL = "https://product.example.com/products"

CALLER = "caller: the token of an audience, and a proof"
POLICY = "token service: what the policy says"
ADMISSION = "callee: whether the route admits the caller"


class _Minter:
    """Makes custom tokens that are not verified."""

    async def mint(self, connections: Connections, claims: ServiceClaims) -> str:
        return "custom"


class _Firebase(httpx.AsyncBaseTransport):
    """Answers each sign-in at once with an ID token of the usual length."""

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"idToken": "x" * 900})


def measure(plan: Plan) -> list[Measurement]:
    """Measure a caller, the policy of the token service, and the admission of a route."""
    return measured(plan, LARGE_SIZES if plan.is_large else SIZES)


def measured(plan: Plan, sizes: Sequence[int]) -> list[Measurement]:
    """Measure all of them with each number of audiences."""
    return [*asyncio.run(_caller(plan, sizes)), *_policy(plan, sizes), *_admission(sizes)]


async def _caller(plan: Plan, sizes: Sequence[int]) -> list[Measurement]:
    settings = Settings(project_id=PROJECT, emulator_host=None, api_key=SecretStr("bench"))
    identities: dict[int, ServiceIdentity] = {}
    found = []
    for size in sizes:
        plan.say(f"a caller with {size:,} audiences")
        identity = identities[size] = ServiceIdentity("billing", settings, minter=_Minter(), transport=_Firebase())
        before = psutil.Process().memory_info().rss
        for first in range(0, size, AT_ONCE):
            some = range(first, min(first + AT_ONCE, size))
            await asyncio.gather(*(identity.token(_service(number), "proof") for number in some))
        used = max(0, psutil.Process().memory_info().rss - before)
        found.append(Measurement(CALLER, AUDIENCE_MEMORY, "MB", [used / 1e6], size))

    async def call(size: int, audience: str) -> None:
        token = await identities[size].token(audience, "proof")
        identities[size].proof("GET", URL, token, None)

    times: dict[int, list[float]] = {size: [] for size in sizes}
    with quiet_garbage_collector():
        for turn in range(ROUNDS + 1):
            for size in sizes:
                audiences = _some(size, turn)
                began = time.perf_counter()
                for audience in audiences:
                    await call(size, audience)
                if turn:
                    times[size].append((time.perf_counter() - began) / CALLS * 1e6)
    for identity in identities.values():
        await identity.aclose()
    return found + [Measurement(CALLER, AUDIENCE, "µs", values, size) for size, values in times.items()]


def _policy(plan: Plan, sizes: Sequence[int]) -> Iterator[Measurement]:
    """Measure policies in which one service may call all others. The caller is the last one in the file."""
    policies = {}
    for size in sizes:
        plan.say(f"a policy with {size:,} audiences")
        names = [_service(number) for number in range(size)]
        services: dict[str, object] = {name: {"service_accounts": [_account(name)]} for name in names}
        services["billing"] = {"service_accounts": [_account("billing")], "calls": names}
        policies[size] = Policy.model_validate({"services": services})

    def decide(size: int, audience: str) -> None:
        policy = policies[size]
        service = policy.service_of_account(_account("billing"))
        if service is None or not policy.allows(service, audience):
            raise RuntimeError(f"The policy does not allow calls of {audience}.")

    yield from _turns(POLICY, sizes, decide)


def _admission(sizes: Sequence[int]) -> Iterator[Measurement]:
    admissions: Mapping[int, Admission] = {
        size: Admission.of(False, {_service(number) for number in range(size)}) for size in sizes
    }

    def admit(size: int, service: str) -> None:
        caller = ServiceCaller(service, f"svc:{service}", "product", "proof", "-", 0)
        if not admissions[size].admits(caller):
            raise RuntimeError(f"The route does not admit {service}.")

    yield from _turns(ADMISSION, sizes, admit)


def _turns(case: str, sizes: Sequence[int], work: Callable[[int, str], None]) -> Iterator[Measurement]:
    """Measure work with one audience of so many. The sizes take turns."""
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for turn in range(ROUNDS + 1):
        for size in sizes:
            audiences = _some(size, turn)
            began = time.perf_counter()
            for audience in audiences:
                work(size, audience)
            if turn:
                times[size].append((time.perf_counter() - began) / CALLS * 1e6)
    yield from (Measurement(case, AUDIENCE, "µs", values, size) for size, values in times.items())


def _some(size: int, seed: int) -> list[str]:
    """Return audiences among so many, chosen at random."""
    rng = random.Random(seed)  # noqa: S311 - the same choice in each run
    return [_service(rng.randrange(size)) for _ in range(CALLS)]


def _service(number: int) -> str:
    return f"service-{number}"


def _account(service: str) -> str:
    return f"{service}@bench.iam.gserviceaccount.com"
