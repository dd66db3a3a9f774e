"""What authentication adds to a call on the caller's side, with Firebase 120 ms away and its quotas.

Calls come at random times (Poisson), the same times in each run, whether earlier calls are done or not. The code is the
real one: only Firebase and Google are stand-ins, which answer without TLS and sockets. Custom tokens are signed in the
process that calls.
"""

import asyncio
import json
import multiprocessing
import os
import random
import tempfile
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import firebase_admin
import httpx
import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from firebase_admin import auth
from google.auth import transport
from google.oauth2 import service_account
from pydantic import SecretStr
from typing_extensions import override

from bench import sign_in
from bench.issuer import PROJECT, Issuer
from bench.measure import Work, measured, on_one_core
from bench.results import CPU, ERRORS, P50, P99, P999, Measurement, Plan, percentile
from mstoken import ServiceIdentity, Settings
from mstoken.caller.auth import ServiceAuth
from mstoken.claims import ServiceClaims
from mstoken.errors import SignInError
from mstoken.wire import Mode

TITLE = "What authentication adds to a call"

NOTHING = "no authentication"
SIGN_IN_EACH = "a sign-in for each call"
FRESH = "mstoken, fresh mode"
PROOF = "mstoken, proof mode"
GOOGLE = "Google's identity tokens (google-auth)"
CASES = (NOTHING, SIGN_IN_EACH, FRESH, PROOF, GOOGLE)
OURS = (FRESH, PROOF)
RATES = (1.0, 50.0, 500.0)
"""Calls a second."""

SIGNATURE = "one P-256 signature"
HEADERS = "a proof, and its headers on a request"
AT_ONCE = "waits less than 1 ms"
SIGN_INS = "sign-ins"
QUOTA_HOURS = "the day's quota lasts"

FIREBASE_SECONDS = 0.12
"""How long Firebase and Google take to answer in this simulation."""
SIGN_INS_A_MINUTE = 45_000
OPERATIONS_A_DAY = 10_000_000
"""What Firebase allows a project (Firebase, "Firebase Authentication Limits")."""
MINUTE_SECONDS = 60
HOUR_SECONDS = 3_600
MILLISECOND = 0.001
WINDOWS = 4
"""Into so many rounds the time of a case is divided."""
SLOW_SECONDS = 24.0
FAST_SECONDS = 5.0
"""For how long calls are observed, at the lower rates and at the highest one."""
WARM_UP_SECONDS = 3.0
SIGN_IN_SECONDS = 30.0
"""About how long the sign-ins in the emulators take, start and end included."""
START_SECONDS = 1.5
"""About how long a process takes to start."""
URL = "https://product.example.com/products?limit=20"


@dataclass(frozen=True, slots=True)
class Observed:
    """What became of the calls of one case at one rate, in each window of time."""

    waits: list[list[float]]
    """How long each call waited, in seconds."""
    cpu: list[float]
    """Processor time, in seconds for each window: of the calls, and of what happens ahead of need."""
    sign_ins: int
    failed: int
    seconds: float

    @property
    def calls(self) -> int:
        """The number of calls that got what they need."""
        return sum(map(len, self.waits))


def measure(plan: Plan) -> list[Measurement]:
    """Measure all cases at all rates. At the lower ones, cases run at the same time: they leave the processors idle."""
    slow, fast = RATES[:-1], RATES[-1:]
    observed: dict[tuple[str, float], Observed] = {}
    steps: list[tuple[Sequence[str], Sequence[float], float]] = [
        (OURS, slow, SLOW_SECONDS),
        ([case for case in CASES if case not in OURS], slow, SLOW_SECONDS / 2),
        *(([case], fast, FAST_SECONDS) for case in CASES),
    ]
    share = min(
        1.0,
        (plan.seconds - SIGN_IN_SECONDS) / sum(seconds + WARM_UP_SECONDS + START_SECONDS for _, _, seconds in steps),
    )
    with ProcessPoolExecutor(len(CASES), multiprocessing.get_context("spawn")) as processes:
        for cases, rates, seconds in steps:
            plan.say(f"{', '.join(cases)}: {' and '.join(f'{rate:g}' for rate in rates)} calls a second")
            running = {case: processes.submit(observe, case, rates, seconds * share) for case in cases}
            for case, result in running.items():
                observed |= {(case, rate): found for rate, found in result.result().items()}
    found = [
        measurement
        for case in CASES
        for rate in RATES
        for measurement in measurements_of(case, rate, observed[case, rate], observed[NOTHING, rate])
    ]
    plan.say("a proof and its headers")
    with on_one_core():
        found += asyncio.run(_proofs(plan.folder))
    plan.say("sign-ins in the emulators, with and without the token service")
    return found + sign_in.measure(plan.folder)


async def _proofs(folder: Path) -> list[Measurement]:
    """Measure what a proof costs the caller, next to the signature in it."""
    key, message = ec.generate_private_key(ec.SECP256R1()), b"x" * 400
    ecdsa = ec.ECDSA(hashes.SHA256())
    with Issuer().credentials(folder):
        async with way(PROOF, seconds=0.0) as chosen:
            await chosen.authenticate(httpx.Request("GET", URL))

            async def signature(_: httpx.Request) -> None:
                key.sign(message, ecdsa)

            def requests(number: int) -> list[httpx.Request]:
                return [httpx.Request("GET", URL) for _ in range(number)]

            costs = await measured({SIGNATURE: Work(signature, requests), HEADERS: Work(chosen.authenticate, requests)})
    return [Measurement(case, CPU, "µs", cost.cpu) for case, cost in costs.items()]


def measurements_of(case: str, rate: float, found: Observed, nothing: Observed) -> list[Measurement]:
    """Return what a case adds to calls without authentication."""
    if case == NOTHING:
        return []
    together = [wait for window in found.waits for wait in window]
    windows = [window for window in found.waits if window]
    sign_ins_a_second = found.sign_ins / found.seconds
    values: list[tuple[str, str, list[float]]] = [
        (P50, "ms", [percentile(window, 50) / MILLISECOND for window in windows]),
        (P99, "ms", [percentile(together, 99) / MILLISECOND]),
        (P999, "ms", [percentile(together, 99.9) / MILLISECOND]),
        (AT_ONCE, "%", [100 * sum(wait < MILLISECOND for wait in together) / len(together)]),
        (SIGN_INS, "1/min", [sign_ins_a_second * MINUTE_SECONDS]),
        (ERRORS, "%", [100 * found.failed / (found.failed + found.calls)]),
    ]
    if found.sign_ins:
        values.append((QUOTA_HOURS, "h", [OPERATIONS_A_DAY / sign_ins_a_second / HOUR_SECONDS]))
    if rate == RATES[-1]:  # Below, cases run at the same time in one process.
        least = min(nothing.cpu[number] / max(1, len(nothing.waits[number])) for number in range(len(nothing.cpu)))
        cpu = [used / max(1, len(window)) - least for used, window in zip(found.cpu, found.waits, strict=True)]
        values.append((CPU, "µs", [seconds * 1e6 for seconds in cpu]))
    return [Measurement(case, quantity, unit, each, at=rate) for quantity, unit, each in values]


def observe(case: str, rates: Sequence[float], seconds: float) -> dict[float, Observed]:
    """Observe the calls of a case in this process, at all these rates at the same time."""

    async def all_rates() -> dict[float, Observed]:
        with tempfile.TemporaryDirectory() as folder, Issuer().credentials(Path(folder)):
            found = await asyncio.gather(*(_observe(case, rate, seconds) for rate in rates))
        return dict(zip(rates, found, strict=True))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(all_rates())


async def _observe(case: str, rate: float, seconds: float) -> Observed:
    """Call at this rate, after a time to warm up, and return what happened."""
    rng = random.Random(rate)  # noqa: S311 - calls come at random times, the same times in each run
    waits: list[list[float]] = [[] for _ in range(WINDOWS + 1)]
    cpu = [0.0] * (WINDOWS + 1)
    failed = [0]
    async with way(case) as chosen:

        async def call(request: httpx.Request, began: float, into: list[float]) -> None:
            try:
                await chosen.authenticate(request)
            except (SignInError, httpx.HTTPError):
                failed[0] += 1
            else:
                into.append(time.perf_counter() - began)

        with suppress(SignInError, httpx.HTTPError):
            await chosen.authenticate(httpx.Request("GET", URL))  # The first call of a process always waits.
        start = due = time.perf_counter()
        window, sign_ins = 0, 0
        ends = [start + WARM_UP_SECONDS + seconds * number / WINDOWS for number in range(WINDOWS + 1)]
        used = time.process_time()
        async with asyncio.TaskGroup() as calls:
            while window <= WINDOWS:
                now = time.perf_counter()
                while due <= now:
                    request = httpx.Request("GET", URL)
                    calls.create_task(call(request, time.perf_counter(), waits[window]))
                    due += rng.expovariate(rate)
                if now >= ends[window]:
                    cpu[window], used = time.process_time() - used, time.process_time()
                    sign_ins = sign_ins or chosen.sign_ins()
                    failed[0] = 0 if window == 0 else failed[0]
                    window += 1
                else:
                    await asyncio.sleep(min(due, ends[window]) - now)
        return Observed(waits[1:], cpu[1:], chosen.sign_ins() - sign_ins, failed[0], seconds)


class FarFirebase(httpx.AsyncBaseTransport):
    """Answers each sign-in with an ID token after `seconds`, and refuses those above the quota of a minute."""

    def __init__(
        self,
        *,
        seconds: float = FIREBASE_SECONDS,
        sign_ins_a_minute: int = SIGN_INS_A_MINUTE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sign_ins = 0
        self._seconds = seconds
        self._limit = sign_ins_a_minute
        self._clock = clock
        self._recent: deque[float] = deque()

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(self._seconds)
        now = self._clock()
        while self._recent and now - self._recent[0] >= MINUTE_SECONDS:
            self._recent.popleft()
        if len(self._recent) >= self._limit:
            return httpx.Response(400, json={"error": {"code": 400, "message": "QUOTA_EXCEEDED"}})
        self._recent.append(now)
        self.sign_ins += 1
        return httpx.Response(200, json={"idToken": f"{'x' * 900}.{self.sign_ins}", "expiresIn": "3600"})


class _Way(ABC):
    """A way to authenticate calls."""

    @abstractmethod
    async def authenticate(self, request: httpx.Request) -> None:
        """Put the headers on a request."""

    def sign_ins(self) -> int:
        """Return how many sign-ins were made until now."""
        return 0


class _Nothing(_Way):
    """The request goes as it is."""

    @override
    async def authenticate(self, request: httpx.Request) -> None:
        pass


class _SignInEach(_Way):
    """The plain way to fresh tokens: sign a custom token, exchange it, send it."""

    def __init__(self, app: firebase_admin.App, client: httpx.AsyncClient, firebase: FarFirebase) -> None:
        self._app = app
        self._client = client
        self._firebase = firebase

    @override
    async def authenticate(self, request: httpx.Request) -> None:
        claims = ServiceClaims.fresh("billing", "product", minted_at=time.time())
        token = auth.create_custom_token(claims.uid, claims.as_developer_claims(), self._app)
        url = "https://identitytoolkit.googleapis.com/v1/accounts:signInWithCustomToken"
        content = {"token": token.decode(), "returnSecureToken": True}
        answer = await self._client.post(url, params={"key": "bench"}, json=content)
        request.headers["X-MS-TOKEN"] = answer.raise_for_status().json()["idToken"]

    @override
    def sign_ins(self) -> int:
        return self._firebase.sign_ins


class _Mstoken(_Way):
    """Ours: the `httpx.Auth` of a service identity."""

    def __init__(self, service_auth: ServiceAuth, firebase: FarFirebase) -> None:
        self._auth = service_auth
        self._firebase = firebase

    @override
    async def authenticate(self, request: httpx.Request) -> None:
        flow = self._auth.async_auth_flow(request)
        await anext(flow)
        await flow.aclose()

    @override
    def sign_ins(self) -> int:
        return self._firebase.sign_ins


class _FarGoogle(transport.Request):
    """Answers a request for an identity token after `seconds`, during which the process waits."""

    def __init__(self, token: str, seconds: float) -> None:
        self.requests = 0
        self._token = token
        self._seconds = seconds

    @override
    def __call__(self, *_arguments: Any, **_more: Any) -> transport.Response:
        time.sleep(self._seconds)
        self.requests += 1
        return _Answer(json.dumps({"id_token": self._token}).encode())


class _Answer(transport.Response):
    """An answer with the status 200."""

    status = 200
    headers: Mapping[str, str] = {}
    data = b""

    def __init__(self, data: bytes) -> None:
        self.data = data


class _Google(_Way):
    """An identity token for the audience, as google-auth gives it: refreshed when it expires, once an hour."""

    def __init__(self, credentials: service_account.IDTokenCredentials, request: _FarGoogle) -> None:
        self._credentials = credentials
        self._request = request

    @override
    async def authenticate(self, request: httpx.Request) -> None:
        headers: dict[str, str] = {}
        self._credentials.before_request(self._request, "GET", str(request.url), headers)
        request.headers.update(headers)

    @override
    def sign_ins(self) -> int:
        return self._request.requests


@asynccontextmanager
async def way(case: str, *, seconds: float = FIREBASE_SECONDS) -> AsyncIterator[_Way]:
    """Make the way to authenticate that `case` names. Firebase and Google answer after so many seconds."""
    firebase = FarFirebase(seconds=seconds)
    async with AsyncExitStack() as stack:
        if case in (FRESH, PROOF):
            mode: Mode = "fresh" if case == FRESH else "proof"
            identity = await stack.enter_async_context(fresh_identity(firebase))
            yield _Mstoken(identity.to("product", mode), firebase)
        elif case == SIGN_IN_EACH:
            app = firebase_admin.initialize_app(options={"projectId": PROJECT}, name=f"each {id(firebase)}")
            client = await stack.enter_async_context(httpx.AsyncClient(transport=firebase))
            yield _SignInEach(app, client, firebase)
        elif case == GOOGLE:
            now = int(time.time())
            token = Issuer().signed({"aud": URL, "iat": now, "exp": now + HOUR_SECONDS})
            credentials = service_account.IDTokenCredentials.from_service_account_file(
                os.environ["GOOGLE_APPLICATION_CREDENTIALS"], target_audience=URL
            )
            yield _Google(credentials, _FarGoogle(token, seconds))
        else:
            yield _Nothing()


def fresh_identity(firebase: httpx.AsyncBaseTransport) -> ServiceIdentity:
    """Return the identity of Billing, which signs custom tokens itself."""
    settings = Settings(project_id=PROJECT, emulator_host=None, api_key=SecretStr("bench"))
    return ServiceIdentity("billing", settings, transport=firebase)
