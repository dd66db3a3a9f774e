"""Bad times: what callers get, by the time, while something that the services need is away, and when it comes back.

Each story is a steady load in proof mode, at a rate that does not depend on the answers, and a list of what is done to
the system meanwhile. Three of them call Product's protected route. One buys at a whole shop.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.fernet import Fernet

from bench.issuer import Issuer
from bench.load import NO_ANSWER, Load, LoadClient, Outcome
from bench.purchase import Customers, ShopStack
from bench.results import TIMELINE, Measurement, Plan, percentile
from bench.route import Calls, fill, issuer_environment, replay_url
from bench.servers import READY_PATH, Server, Servers, redis
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import SERVICES
from tests.redis_server import RedisServer

TITLE = "Bad times"

NO_CERTIFICATES = "certificates cannot be fetched"
NO_CERTIFICATES_AT_START = "certificates cannot be fetched when a process starts"
REDIS_STALLS = "Redis stalls for 2 s"
PRODUCT_DOWN = "Product is down"

GOOD, UNAVAILABLE, OTHERS, UNANSWERED = "good answers", "honest 503", "other answers", "no answer"
"""What callers get: the parts of the calls, in %, and the lines of the charts."""
SLOWEST = "longest wait"
"""For any answer."""
SLOWEST_503 = "p99 of a 503"
MEDIAN_503 = "median of a 503"
RECOVERY = "good again after"
"""Seconds from when everything works again until the first good answer."""

BIN_SECONDS = 0.25
CALLS_A_SECOND = 60.0
BILLS_A_SECOND = 12.0
CONNECTIONS = 200
"""More than there are calls without an answer at the same time, so that the rate stays the same."""
_GOOD = frozenset({200, 201})


@dataclass(frozen=True)
class Event:
    """Something that is done to the system, so many seconds after the load began. The last one mends it."""

    at: float
    do: Callable[[], object]


def measure(plan: Plan) -> list[Measurement]:
    """Play all stories, one after the other."""
    found: list[Measurement] = []
    with ExitStack() as stack:
        store = stack.enter_context(redis(plan, f"{TITLE}: {REDIS_STALLS}"))
        servers = stack.enter_context(Servers(plan.folder))
        client = stack.enter_context(LoadClient(servers.cores.client))
        product = _Product(plan.folder, servers, client)
        # A store accepts nothing that was made before its memory began. So this one begins first, and is used last.
        with_redis = product.start("redis", store.url) if store else None
        plan.say(NO_CERTIFICATES)
        found += told(NO_CERTIFICATES, *product.without_certificates())
        plan.say(NO_CERTIFICATES_AT_START)
        found += told(NO_CERTIFICATES_AT_START, *product.starting_without_certificates())
        if store and with_redis:
            plan.say(REDIS_STALLS)
            found += told(REDIS_STALLS, *product.with_stalled_redis(with_redis, store))
    plan.say(PRODUCT_DOWN)
    found += told(PRODUCT_DOWN, *_without_product(plan))
    return found


class _Product:
    """Product's servers for the stories of the protected route."""

    def __init__(self, folder: Path, servers: Servers, client: LoadClient) -> None:
        self._folder = folder
        self._servers = servers
        self._client = client
        issuer = Issuer()
        self._calls = Calls(issuer, Fernet.generate_key().decode())
        self._environment = issuer_environment(issuer, folder)
        self._certificates = Path(self._environment["MSTOKEN_CERTIFICATES_FILE"])
        self._away = folder / "certificates-away.json"

    def without_certificates(self) -> tuple[Outcome, float]:
        """A running process, while the certificates are away from 1.5 s to 4.5 s."""
        return self._play(self.start("running"), 6.0, [Event(1.5, self._take_away), Event(4.5, self._put_back)])

    def starting_without_certificates(self) -> tuple[Outcome, float]:
        """A process that starts while the certificates are away. They come back after 3 s."""
        self._take_away()
        return self._play(self.start("starting", ready_path="/healthz"), 9.0, [Event(3.0, self._put_back)])

    def with_stalled_redis(self, server: Server, store: RedisServer) -> tuple[Outcome, float]:
        """A running process whose Redis, with the spent ids, does not answer from 2 s to 4 s."""
        try:
            return self._play(server, 8.0, [Event(2.0, store.hang), Event(4.0, store.go_on)])
        finally:
            store.go_on()

    def start(self, name: str, spent_ids: str | None = None, *, ready_path: str = READY_PATH) -> Server:
        """Start a server with files of its own, and wait until it is ready."""
        own = {
            "DATABASE_URL": fill(self._folder / f"{name}.db"),
            "MSTOKEN_REPLAY_URL": spent_ids or replay_url(self._folder / f"{name}-spent.db"),
        }
        server = self._servers.start_app(name, "bench.apps:protected", self._environment | own)
        self._servers.wait_for(server, ready_path)
        return server

    def _play(self, server: Server, seconds: float, events: Sequence[Event]) -> tuple[Outcome, float]:
        requests = self._calls.with_proof(int(CALLS_A_SECOND * seconds))
        load = Load(server.port, requests, CONNECTIONS, CALLS_A_SECOND)
        return play(self._client, load, events, self._servers.supervisor)

    def _take_away(self) -> None:
        self._certificates.rename(self._away)

    def _put_back(self) -> None:
        self._away.rename(self._certificates)


def _without_product(plan: Plan) -> tuple[Outcome, float]:
    """Purchases at Billing, while Product is killed after 2.5 s, and started again after 5.5 s."""
    supervisor = Supervisor()
    data = plan.folder / "shop"
    data.mkdir()
    shop = ShopStack(Ports.shifted(free_offset()), data, project="demo-bench", mode="proof")
    with LoadClient() as client:
        try:
            shop.start_emulators(supervisor)
            for service in SERVICES:
                replay_url(data / f"{service}-spent.db")
            shop.start_services(supervisor)
            warm, *requests = Customers(shop).requests(int(BILLS_A_SECOND * 14.0) + 1)
            client.run(Load(shop.ports.billing, [warm])).expect(*_GOOD)
            events = [
                Event(2.5, partial(supervisor.end, "product", kill=True)),
                Event(5.5, partial(shop.start_service, supervisor, "product")),
            ]
            return play(client, Load(shop.ports.billing, requests, CONNECTIONS, BILLS_A_SECOND), events, supervisor)
        finally:
            supervisor.stop()


def play(client: LoadClient, load: Load, events: Sequence[Event], supervisor: Supervisor) -> tuple[Outcome, float]:
    """Send a load, and do what the story says meanwhile. Return the outcome, and when the last event was done.

    That time is in seconds since the load began.
    """
    began = time.time()
    sent = client.start(load)
    done = began
    for event in events:
        supervisor.check(max(0.0, began + event.at - time.time()))
        event.do()
        done = time.time()
    outcome = sent.result()
    supervisor.check()
    return outcome, done - outcome.began


def told(story: str, outcome: Outcome, mended_at: float) -> Iterator[Measurement]:
    """Yield what callers got in a story: over time, and altogether."""
    kinds = [(_kind(each.status), each) for each in outcome.exchanges]
    for kind in (GOOD, UNAVAILABLE, OTHERS, UNANSWERED):
        those = [exchange for name, exchange in kinds if name == kind]
        yield Measurement(story, kind, "%", [100 * len(those) / len(kinds)])
        if those:
            for second, rate in timeline([exchange.ended for exchange in those], outcome.seconds).items():
                yield Measurement(kind, f"{TIMELINE}: {story}", "1/s", [rate], at=second)
    yield Measurement(story, SLOWEST, "ms", [1000 * max(outcome.latencies)])
    if refused := [1000 * exchange.latency for kind, exchange in kinds if kind == UNAVAILABLE]:
        yield Measurement(story, MEDIAN_503, "ms", [percentile(refused, 50)])
        yield Measurement(story, SLOWEST_503, "ms", [percentile(refused, 99)])
        # An answer counts if its request was sent after everything worked again.
        good = [each.ended for kind, each in kinds if kind == GOOD and each.ended - each.latency >= mended_at]
        if good:
            yield Measurement(story, RECOVERY, "s", [min(good) - mended_at])


def timeline(ended: Sequence[float], seconds: float) -> Mapping[float, float]:
    """Return how many answers there were a second, by the time (s) at the middle of each quarter of a second.

    `ended` are the times of the answers, and `seconds` is how long the load took.
    """
    counts = [0] * (int(seconds / BIN_SECONDS) + 1)
    for moment in ended:
        counts[int(moment / BIN_SECONDS)] += 1
    return {(number + 0.5) * BIN_SECONDS: count / BIN_SECONDS for number, count in enumerate(counts)}


def _kind(status: int) -> str:
    if status in _GOOD:
        return GOOD
    return {503: UNAVAILABLE, NO_ANSWER: UNANSWERED}.get(status, OTHERS)
