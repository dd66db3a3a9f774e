"""A small steady load: a demo customer who buys one thing every second, whatever the last purchase did."""

import asyncio
import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
from typing_extensions import override

from emulator.lab.outages import Span
from emulator.run.errors import RunnerError, Unexpected
from emulator.run.logins import ADMIN, TOMAS
from emulator.run.shop_client import ShopClient, anyone, logged_in
from emulator.run.stack import Stack

EVERY_SECONDS = 1.0
LIMIT_SECONDS = 600.0
"""The load ends by itself after this time, in seconds."""
PATIENCE_SECONDS = 20.0
"""How long the customer waits for an answer, in seconds: longer than Billing's own deadline."""
KEPT_PURCHASES = 600
PRODUCT = "Paper filters, 100"
LOW_STOCK = 400
"""The administrator adds to the stock when the load begins, and after every so many purchases."""
RESTOCK_EVERY = 200
MAX_WAITING = 40
"""How many purchases may be without an answer at the same time. The next ones are left out then."""


@dataclass(frozen=True)
class Sale:
    """A purchase: when it began, in seconds since the epoch, how long the answer took, and what it was.

    `status` is None if there was no answer. `code` is that of the problem, or the name of the error.
    """

    began: float
    seconds: float
    status: int | None
    code: str

    @property
    def is_good(self) -> bool:
        """Whether a bill was issued."""
        return self.status == httpx.codes.CREATED

    @property
    def ended(self) -> float:
        """When the answer was there."""
        return self.began + self.seconds

    @property
    def words(self) -> str:
        """What the customer got, in a few words."""
        if self.is_good:
            return "bill issued"
        return f"{self.status} {self.code}" if self.status else f"no answer ({self.code})"


class Customer(Protocol):
    """Who buys. `prepare` raises RunnerError if the shop is not ready."""

    def prepare(self) -> None:
        """Log in, and see to it that there is enough to buy. Called before the load, and again from time to time."""
        ...

    async def buy(self) -> tuple[int | None, str]:
        """Buy one thing. Return the status and the code of the answer; None for no answer."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class DemoCustomer(Customer):
    """Tomas, who buys paper filters. The purchases of Maya's account stay those of the visitor."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._product: str | None = None
        self._http = httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False)

    @override
    def prepare(self) -> None:
        with logged_in(self._stack, ADMIN) as admin:
            product = next((one for one in admin.products() if one["name"] == PRODUCT), None)
            if product is None:
                raise Unexpected(f"The catalogue has no product named {PRODUCT}.")
            if product["stock"] < LOW_STOCK:
                admin.call("PATCH", "product", f"/products/{product['id']}", 200, json={"stock": LOW_STOCK})
        self._product = product["id"]
        self._http.headers["Authorization"] = f"Bearer {self._token()}"

    def _token(self) -> str:
        with anyone(self._stack) as client:
            return str(self._logged_in(client)["id_token"])

    def _logged_in(self, client: ShopClient) -> Any:
        return client.call("POST", "user", "/login", 200, json={"email": TOMAS.email, "password": TOMAS.password})

    @override
    async def buy(self) -> tuple[int | None, str]:
        body = {"items": [{"product_id": self._product, "quantity": 1}]}
        headers = {"Idempotency-Key": secrets.token_urlsafe(16)}
        try:
            answer = await self._http.post(f"{self._stack.url('billing')}/bills", json=body, headers=headers)
        except httpx.HTTPError as error:
            return None, type(error).__name__
        try:
            return answer.status_code, str(answer.json().get("code", ""))
        except ValueError:
            return answer.status_code, ""

    @override
    async def aclose(self) -> None:
        await self._http.aclose()


class LoadFailed(Exception):
    """The load could not begin: the text says why."""


class Load:
    """Lets a customer buy every second, in a thread of its own. Other threads may start, stop and look at it."""

    def __init__(
        self,
        make_customer: Callable[[], Customer],
        *,
        every_seconds: float = EVERY_SECONDS,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        self._make_customer = make_customer
        self._every_seconds = every_seconds
        self._limit_seconds = limit_seconds
        self._sales: deque[Sale] = deque(maxlen=KEPT_PURCHASES)
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._end = threading.Event()

    @property
    def is_running(self) -> bool:
        """Whether the customer is buying."""
        return self._thread is not None and self._thread.is_alive() and not self._end.is_set()

    @property
    def waiting(self) -> int:
        """How many purchases have no answer yet."""
        return self._waiting

    def sales(self) -> list[Sale]:
        """Return the latest purchases, in the order of their beginnings."""
        return sorted(self._sales.copy(), key=lambda sale: sale.began)

    def start(self) -> None:
        """Begin, unless it has begun. Raises LoadFailed if the customer cannot log in."""
        with self._lock:
            if self.is_running:
                return
            self._join()
            customer = self._make_customer()
            try:
                customer.prepare()
            except RunnerError as error:
                asyncio.run(customer.aclose())
                raise LoadFailed(f"The customer cannot begin: {error}") from error
            self._sales.clear()
            self._end = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(customer, self._end), name="load", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, and wait for the purchases that have no answer yet."""
        self._end.set()
        with self._lock:
            self._join()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, customer: Customer, end: threading.Event) -> None:
        asyncio.run(self._buy_every_second(customer, end))

    async def _buy_every_second(self, customer: Customer, end: threading.Event) -> None:
        begun = time.monotonic()
        purchases: set[asyncio.Task[None]] = set()
        number = 0
        while not end.is_set() and time.monotonic() < begun + self._limit_seconds:
            if len(purchases) < MAX_WAITING:
                _keep(purchases, self._buy(customer))
            number += 1
            if number % RESTOCK_EVERY == 0:
                _keep(purchases, self._prepare_again(customer))
            # By the clock, so that slow answers do not make purchases rarer.
            await asyncio.to_thread(end.wait, max(0.0, begun + number * self._every_seconds - time.monotonic()))
        end.set()
        if purchases:
            await asyncio.wait(purchases)
        await customer.aclose()

    async def _prepare_again(self, customer: Customer) -> None:
        with contextlib.suppress(RunnerError):  # A fault is on. The next time is soon enough.
            await asyncio.to_thread(customer.prepare)

    async def _buy(self, customer: Customer) -> None:
        began, start = time.time(), time.perf_counter()
        self._waiting += 1
        try:
            status, code = await customer.buy()
        finally:
            self._waiting -= 1
        self._sales.append(Sale(began, time.perf_counter() - start, status, code))


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


@dataclass(frozen=True)
class Notice:
    """What customers noticed of one fault: purchases that failed, the slowest answer, and the time until it healed.

    Times are in seconds. `healed_after` counts from the end of the fault until the first bill after the last failure;
    None means that this has not happened yet, and 0 that nothing failed.
    """

    span: Span
    sales: int
    failed: int
    slowest: float | None
    healed_after: float | None
    answers: dict[str, int] = field(default_factory=dict)


def notices(spans: Sequence[Span], sales: Sequence[Sale]) -> list[Notice]:
    """Return what customers noticed of each fault: from its beginning to the next one's, or to the present."""
    untils = [*(span.begin for span in spans[1:]), float("inf")]
    return [_notice(span, until, sales) for span, until in zip(spans, untils, strict=False)]


def _notice(span: Span, until: float, sales: Sequence[Sale]) -> Notice:
    touched = [sale for sale in sales if sale.ended >= span.begin and sale.began < until]
    failed = [sale for sale in touched if not sale.is_good]
    answers: dict[str, int] = {}
    for sale in touched:
        answers[sale.words] = answers.get(sale.words, 0) + 1
    slowest = max((sale.seconds for sale in touched), default=None)
    return Notice(span, len(touched), len(failed), slowest, _healed_after(span, touched, failed), answers)


def _healed_after(span: Span, touched: Sequence[Sale], failed: Sequence[Sale]) -> float | None:
    if span.end is None or not touched:
        return None
    if not failed:
        return 0.0
    last_failure = max(sale.began for sale in failed)
    bills = [sale.ended for sale in touched if sale.is_good and sale.began > last_failure and sale.ended >= span.end]
    return max(0.0, min(bills) - span.end) if bills else None


@contextlib.contextmanager
def running_load(stack: Stack) -> Iterator[Load]:
    """Return a load that is not running yet. It ends with the block."""
    load = Load(lambda: DemoCustomer(stack))
    try:
        yield load
    finally:
        load.stop()
