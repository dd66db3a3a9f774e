"""The record of a run: every request and its answer, every price, and when what was out of order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

HOME = {"name": "A Customer", "line1": "1 Quay", "line2": None, "city": "Cork", "postal_code": "T12", "country": "IE"}
"""The address in each customer's profile."""


@dataclass(frozen=True)
class Exchange:
    """A request of the customer `uid`, and its answer. Times are those of `time.monotonic`.

    `operation` is the method with the path's template, as in OpenAPI: "GET /bills/{bill_id}". Without an answer
    `status` is None, and `text` says why.
    """

    uid: str
    service: str
    operation: str
    path: str
    sent_at: float
    ended_at: float
    status: int | None
    headers: Mapping[str, str]
    text: str
    sent: Any = None
    key: str | None = None

    @property
    def content(self) -> Any:
        """The JSON in the answer. Raises ValueError."""
        return json.loads(self.text)

    @property
    def code(self) -> str | None:
        """The code of a problem; None if the answer is not one."""
        try:
            content = self.content
        except ValueError:
            return None
        return content.get("code") if isinstance(content, dict) else None

    def __str__(self) -> str:
        return f"{self.operation} ({self.path}, key {self.key}): {self.status} {self.text[:300]}"


@dataclass(frozen=True)
class Revision:
    """A product's name and price, which were set at some time between `sent_at` and `answered_at`."""

    name: str
    amount: int
    sent_at: float
    answered_at: float


@dataclass
class Catalogue:
    """The products with all their revisions, the first one first, and the stock and the currency of each.

    The stock is the one at the beginning.
    """

    revisions: dict[str, list[Revision]] = field(default_factory=dict)
    stock: dict[str, int] = field(default_factory=dict)
    currency: dict[str, str] = field(default_factory=dict)
    scarce: list[str] = field(default_factory=list)
    """The products that may sell out, in the order in which they are offered."""
    on_offer: list[str] = field(default_factory=list)
    """What customers choose from."""

    def offer_next(self, count: int) -> None:
        """Offer all products that do not sell out and the next `count` scarce ones, or the last if none is left."""
        offered = [name for name in self.scarce if name in self.on_offer]
        first = self.scarce.index(offered[-1]) + 1 if offered else 0
        plenty = [name for name in self.stock if name not in self.scarce]
        self.on_offer = plenty + (self.scarce[first : first + count] or offered)

    def possible(self, product_id: str, start: float, end: float) -> list[tuple[str, int]]:
        """Return each name with its price that the product may have had at a time between `start` and `end`."""
        revisions = self.revisions.get(product_id, [])
        replaced_at = [*(revision.answered_at for revision in revisions[1:]), float("inf")]
        return [
            (revision.name, revision.amount)
            for revision, until in zip(revisions, replaced_at, strict=True)
            if revision.sent_at <= end and start <= until
        ]


Kind: TypeAlias = Literal["kill", "hang", "drop"]
"""How a part is broken: its processes are killed, or suspended, or the packets to and from it are lost."""


@dataclass(frozen=True)
class Downtime:
    """A time during which a part was broken, or not ready yet."""

    part: str
    kind: Kind
    start: float
    end: float


@dataclass
class Record:
    """What happened in a run. It is calm from `warm_from` on, parts are broken from `broken_from` on, and it is calm
    again from `calm_from` on.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    catalogue: Catalogue = field(default_factory=Catalogue)
    downtimes: Sequence[Downtime] = ()
    jumps: Sequence[tuple[float, float]] = ()
    """When the shop's clock was advanced, and by how many seconds."""
    warm_from: float = float("-inf")
    broken_from: float = float("inf")
    calm_from: float = float("inf")

    def was_calm(self, exchange: Exchange) -> bool:
        """Return whether nothing was broken during an exchange."""
        return self.warm_from <= exchange.sent_at and (
            exchange.ended_at < self.broken_from or self.calm_from < exchange.sent_at
        )

    def was_down(self, exchange: Exchange) -> bool:
        """Return whether the service was killed, or not ready yet, at a time during the exchange."""
        return self._was(exchange, "kill")

    def did_hang(self, exchange: Exchange) -> bool:
        """Return whether the service hung at a time during the exchange."""
        return self._was(exchange, "hang")

    def _was(self, exchange: Exchange, kind: Kind) -> bool:
        return any(
            (down.part, down.kind) == (exchange.service, kind)
            and down.start <= exchange.ended_at
            and exchange.sent_at <= down.end
            for down in self.downtimes
        )

    def shop_seconds(self, start: float, end: float) -> float:
        """Return the seconds that passed between two times by the shop's clock."""
        return end - start + sum(seconds for at, seconds in self.jumps if start <= at <= end)
