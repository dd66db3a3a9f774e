"""The protected route, `GET /products?limit=20`, next to what people write today: real servers, one loaded at a time.

Each server has one worker on one core, and the client is on another core. Of two workers each has a core, and the
client shares them. Tokens are signed by a key that stands in for Google's, so no network is used.
"""

import asyncio
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from cryptography.fernet import Fernet

from bench.apps import SECRET_VARIABLE
from bench.issuer import PROJECT, Issuer
from bench.load import Load, LoadClient, Outcome
from bench.results import CPU, P50, P99, P999, THROUGHPUT, Measurement, Plan, percentile
from bench.servers import Server, Servers, postgresql
from mstoken.callee.replay.sqlite_file import SpentIdFile
from mstoken.claims import ServiceClaims
from mstoken.proof import ProofKey
from services.common.database import Database
from services.product.app import MIGRATIONS
from services.product.catalogue import Catalogue
from services.product.store import ProductStore

TITLE = "The protected route"

BARE = "a bare FastAPI route"
OFF = "authentication off"
FRESH = "fresh mode"
PROOF = "proof mode"
ADMIN = "firebase-admin in a thread pool"
SECRET = "an encrypted shared secret (Fernet)"
WITHOUT_TELEMETRY = "proof mode, built without telemetry"
HTTPTOOLS = "proof mode, uvicorn's parser httptools"
"""The services use its parser h11, because httptools takes trailers for headers, and has no limit for a header."""
TWO_WORKERS = "two workers"
POSTGRESQL = "PostgreSQL"
"""Added to the names of cases: "fresh mode, two workers"."""
TELEMETRY = "telemetry off / built without telemetry"

RATIO = "ratio"

CONNECTIONS = 8
ROUND_SECONDS = 0.4
"""About how long a server is loaded in one round."""
SHORT_ROUND_SECONDS = 0.25
"""The same where a difference of 2 % has to show: the more rounds, the less a disturbance counts."""
LATENCY_RATE = 150.0
LATENCY_PART = 0.4
"""At how many requests a second latencies are measured, the same for all cases: a load that every case can bear. It is
less on a machine whose slowest case answers few: then so large a part of them."""
LATENCY_LOAD = "load of the percentiles"
LATENCY_SECONDS = 0.8
WARM_UP = 150
MIN_ROUNDS = 3
PRODUCTS = 25
BASE_URL = "https://product.example.com"
PATH = "/products"
QUERY = "?limit=20"

Requests = Callable[[int], list[bytes]]
"""Returns so many requests, which are sent at once."""


def measure(plan: Plan) -> list[Measurement]:
    """Measure the route in all cases, or those that `make bench-quick` compares."""
    ends_at = time.monotonic() + plan.seconds
    with ExitStack() as stack:
        # The database is the first to start, and so the last to end.
        database = None if plan.is_quick else stack.enter_context(postgresql(plan, f"{TITLE} on PostgreSQL"))
        servers = stack.enter_context(Servers(plan.folder))
        client = stack.enter_context(LoadClient(servers.cores.client))
        route = _Route(plan.folder, servers, client)
        main = {
            BARE: route.start("bare", route.calls.plain),
            OFF: route.start("off", route.calls.plain),
            FRESH: route.start("protected", route.calls.fresh),
            PROOF: route.start("protected", route.calls.with_proof),
            ADMIN: route.start("admin_in_threads", route.calls.with_token),
        }
        if plan.is_quick:
            route.wait()
            return route.compare(main, ends_at)
        main[SECRET] = route.start("shared_secret", route.calls.with_secret)
        parsers = {}
        if find_spec("httptools"):
            options = ("--http", "httptools")
            parsers[HTTPTOOLS] = route.start("protected", route.calls.with_proof, options=options)
            parsers[PROOF] = main[PROOF]
        else:
            plan.leave_out(f"{HTTPTOOLS}: it is not installed (.venv/bin/pip install httptools)")
        without = {PROOF: main[PROOF], WITHOUT_TELEMETRY: route.start("without_telemetry", route.calls.with_proof)}
        both = {
            f"{name}, {TWO_WORKERS}": route.start(target.factory, target.requests, workers=2)
            for name, target in main.items()
            if name in (OFF, FRESH, PROOF)
        }
        on_postgresql = {}
        if database is not None:
            url = database.url(database.make_database())
            asyncio.run(_fill(url))
            on_postgresql = {
                f"{name}, {POSTGRESQL}": route.start(target.factory, target.requests, database_url=url)
                for name, target in main.items()
                if name in (OFF, FRESH, PROOF)
            }
        route.wait()
        left = ends_at - time.monotonic()
        plan.say(f"{len(main)} cases with one worker")
        found = route.compare(main, time.monotonic() + left * 0.5, has_latencies=True)
        plan.say(f"with {TWO_WORKERS}")
        found += route.compare(both, time.monotonic() + left * 0.17, has_latencies=True)
        if on_postgresql:
            plan.say(f"on {POSTGRESQL}")
            found += route.compare(on_postgresql, time.monotonic() + left * 0.17, has_latencies=True)
        if parsers:
            plan.say("the parser of HTTP")
            compared = route.compare(parsers, time.monotonic() + left * 0.1)
            found += [each for each in compared if each.case == HTTPTOOLS]
        plan.say("what telemetry costs while it is off")
        return [*found, _telemetry(route.compare(without, ends_at, round_seconds=SHORT_ROUND_SECONDS))]


def _telemetry(found: Sequence[Measurement]) -> Measurement:
    """Return what telemetry costs while it is off: the processor time with its calls, divided by that without them."""
    values = {each.case: each.values for each in found if each.quantity == CPU}
    ratios = [a / b for a, b in zip(values[PROOF], values[WITHOUT_TELEMETRY], strict=True)]
    return Measurement(TELEMETRY, RATIO, "", ratios)


@dataclass(frozen=True)
class _Target:
    """One case: the server that is loaded, and what it is sent."""

    factory: str
    server: Server
    requests: Requests


@dataclass
class _Rounds:
    """What the rounds of one case have found. `count` is how many requests a round sends."""

    count: int
    answers: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    latencies: list[list[float]] = field(default_factory=list)
    latency_rate: float = 0.0

    def add_latencies(self, rate: float, outcome: Outcome) -> None:
        """Add the latencies of a round at so many requests a second."""
        self.latency_rate = rate
        self.latencies.append([1000 * seconds for seconds in outcome.latencies])

    def measurements(self, case: str) -> Iterator[Measurement]:
        """Yield what was found, a value for each round. The p99.9 is that of all rounds together."""
        yield Measurement(case, THROUGHPUT, "1/s", self.answers)
        yield Measurement(case, CPU, "µs", self.processor)
        if self.latencies:
            for quantity, percent in ((P50, 50.0), (P99, 99.0)):
                values = [percentile(each, percent) for each in self.latencies]
                yield Measurement(case, quantity, "ms", values)
            together = [value for each in self.latencies for value in each]
            yield Measurement(case, P999, "ms", [percentile(together, 99.9)])
            yield Measurement(case, LATENCY_LOAD, "1/s", [self.latency_rate])


class _Route:
    """The servers of the route, and the rounds in which they take turns."""

    def __init__(self, folder: Path, servers: Servers, client: LoadClient) -> None:
        self._folder = folder
        self._servers = servers
        self._client = client
        self._started: list[Server] = []
        self._latency_rate: float | None = None
        issuer = Issuer()
        secret = Fernet.generate_key().decode()
        self.calls = Calls(issuer, secret)
        self._environment = issuer_environment(issuer, folder) | {SECRET_VARIABLE: secret}
        self._database = folder / "filled.db"
        fill(self._database)

    def start(
        self,
        factory: str,
        requests: Requests,
        *,
        workers: int = 1,
        database_url: str | None = None,
        options: Sequence[str] = (),
    ) -> _Target:
        """Start a server of `bench.apps`, with files of its own."""
        name = f"{len(self._started)}-{factory}"
        if database_url is None:
            shutil.copy(self._database, self._folder / f"{name}.db")
            database_url = f"sqlite:///{self._folder / name}.db"
        own = {"DATABASE_URL": database_url, "MSTOKEN_REPLAY_URL": replay_url(self._folder / f"{name}-spent.db")}
        server = self._servers.start_app(
            name, f"bench.apps:{factory}", self._environment | own, workers=workers, options=options
        )
        self._started.append(server)
        return _Target(factory, server, requests)

    def wait(self) -> None:
        """Wait until all servers are ready."""
        for server in self._started:
            self._servers.wait_for(server)

    def compare(
        self,
        targets: Mapping[str, _Target],
        ends_at: float,
        *,
        round_seconds: float = ROUND_SECONDS,
        has_latencies: bool = False,
    ) -> list[Measurement]:
        """Load the servers in turns, until about `ends_at` (of `time.monotonic`) and for three rounds at least."""
        rounds, rates = {}, []
        for name, target in targets.items():
            self._load(target, WARM_UP)
            rates.append(self._load(target, WARM_UP).rate)
            rounds[name] = _Rounds(math.ceil(rates[-1] * round_seconds))
        if self._latency_rate is None:
            self._latency_rate = min(LATENCY_RATE, LATENCY_PART * min(rates))
        took = 0.0
        while len(next(iter(rounds.values())).answers) < MIN_ROUNDS or time.monotonic() + took < ends_at:
            began = time.monotonic()
            for name, target in targets.items():
                self._round(target, rounds[name])
                if has_latencies:
                    rounds[name].add_latencies(
                        self._latency_rate,
                        self._load(target, int(self._latency_rate * LATENCY_SECONDS), self._latency_rate),
                    )
            took = time.monotonic() - began
        return [each for name, found in rounds.items() for each in found.measurements(name)]

    def _round(self, target: _Target, rounds: _Rounds) -> None:
        requests = target.requests(rounds.count)
        before = target.server.processor_seconds()
        outcome = self._send(target, Load(target.server.port, requests, CONNECTIONS))
        used = target.server.processor_seconds() - before
        rounds.answers.append(outcome.rate)
        rounds.processor.append(used / len(requests) * 1e6)

    def _load(self, target: _Target, count: int, rate: float | None = None) -> Outcome:
        return self._send(target, Load(target.server.port, target.requests(count), CONNECTIONS, rate))

    def _send(self, target: _Target, load: Load) -> Outcome:
        outcome = self._client.run(load)
        self._servers.check()
        return outcome.expect(200)


class Calls:
    """Makes the requests for the route, each with a token, a proof or a secret of its own."""

    def __init__(self, issuer: Issuer, secret: str) -> None:
        self._issuer = issuer
        self._secret = secret.encode()
        self._fernet = Fernet(secret)
        self._key = ProofKey()
        claims = ServiceClaims.bound("billing", "product", self._key.thumbprint, minted_at=time.time())
        self._bound = issuer.id_token("svc:billing", claims.as_developer_claims())

    def plain(self, count: int) -> list[bytes]:
        """Return requests without a token."""
        return [_request()] * count

    def with_token(self, count: int) -> list[bytes]:
        """Return requests with one and the same ID token, which counts for an hour."""
        return [_request(f"X-MS-TOKEN: {self._bound}")] * count

    def with_secret(self, count: int) -> list[bytes]:
        """Return requests with the secret, encrypted for each."""
        return [_request(f"X-MS-TOKEN: {self._fernet.encrypt(self._secret).decode()}") for _ in range(count)]

    def fresh(self, count: int) -> list[bytes]:
        """Return requests with a fresh token each. They must be sent within 60 s."""
        return [_request(f"X-MS-TOKEN: {self._fresh_token()}") for _ in range(count)]

    def with_proof(self, count: int) -> list[bytes]:
        """Return requests with the same bound token, and a proof each. They must be sent within 30 s."""
        return [_request(f"X-MS-TOKEN: {self._bound}", f"DPoP: {self._proof()}") for _ in range(count)]

    def _fresh_token(self) -> str:
        claims = ServiceClaims.fresh("billing", "product", minted_at=time.time())
        return self._issuer.id_token("svc:billing", claims.as_developer_claims())

    def _proof(self) -> str:
        return self._key.proof("GET", BASE_URL + PATH, self._bound, issued_at=time.time())


def _request(*headers: str) -> bytes:
    """Return a request as httpx sends it."""
    lines = (
        f"GET {PATH}{QUERY} HTTP/1.1",
        "Host: product.example.com",
        "Accept: */*",
        "Accept-Encoding: gzip, deflate",
        "Connection: keep-alive",
        "User-Agent: python-httpx/0.28.1",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def issuer_environment(issuer: Issuer, folder: Path) -> dict[str, str]:
    """Return the variables with which a service trusts `issuer` in place of Google."""
    return {
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "GOOGLE_APPLICATION_CREDENTIALS": str(issuer.credentials_file(folder)),
        "MSTOKEN_CERTIFICATES_FILE": str(issuer.certificates_file(folder)),
        "MSTOKEN_BASE_URL": BASE_URL,
    }


def replay_url(path: Path) -> str:
    """Make a file of spent ids whose memory is old enough for new tokens. Return its URL."""
    SpentIdFile(path, wait_seconds=1, clock=lambda: time.time() - 60).create()
    return f"sqlite:///{path}"


def fill(path: Path) -> str:
    """Make an SQLite database of Product with a page of products. Return its URL."""
    url = f"sqlite:///{path}"
    asyncio.run(_fill(url))
    return url


async def _fill(database_url: str) -> None:
    """Make the database of Product, with so many products that a page of 20 is full."""
    database = Database(database_url, MIGRATIONS)
    await database.open()
    catalogue = Catalogue(ProductStore(database))
    for number in range(PRODUCTS):
        await catalogue.add(f"Coffee {number}", "Beans from one farm, roasted this week.", 1_250 + number, "EUR", 100)
    await database.close()
