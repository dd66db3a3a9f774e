"""What the Billing service may answer instead of what was asked for.

    Fault
    ├── IdempotencyKeyMissing     400  idempotency_key_missing
    ├── IdempotencyKeyReused      422  idempotency_key_reused
    ├── ProductRepeated           422  product_repeated
    ├── BillInProgress            409  bill_in_progress            ask again
    ├── OrderRefused                   no bill, whenever it is asked for under this key
    │   ├── ProductUnknown        422  product_unknown
    │   ├── CurrenciesMixed       422  currencies_mixed
    │   ├── OutOfStock            409  out_of_stock
    │   └── OrderGivenUp          409  order_given_up
    ├── BillNotFound              404  bill_not_found              also for another user's
    ├── DeliveryNotFound          404  delivery_not_found
    ├── AddressMissing            422  address_missing
    ├── AddressFixed              409  address_fixed
    ├── NeighbourUnavailable      503  product_unavailable, user_unavailable
    └── NeighbourFailed           502  product_failed, user_failed

The rules behind them stand in `services.billing.orders`, `bills`, `deliveries` and `neighbours`.
"""

from services.common.faults import Fault


class IdempotencyKeyMissing(Fault):
    """A bill may be asked for again after a lost answer only under a key."""

    status = 400
    code = "idempotency_key_missing"
    title = "The header Idempotency-Key is missing, or is not 1 to 255 visible ASCII characters"


class IdempotencyKeyReused(Fault):
    """The user has sent the key before, with other items."""

    status = 422
    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for another bill"


class ProductRepeated(Fault):
    """A bill has one line for a product."""

    status = 422
    code = "product_repeated"
    title = "A product stands in the bill twice"


class BillInProgress(Fault):
    """The same request is being served just now; its answer is not there yet."""

    status = 409
    code = "bill_in_progress"
    title = "The first request with this Idempotency-Key is not answered yet"
    retry_after_seconds = 1


class OrderRefused(Fault):
    """There is no bill, and there will be none under this key: the same request gets the same answer."""


class ProductUnknown(OrderRefused):
    """Product does not have it, or not any more."""

    status = 422
    code = "product_unknown"
    title = "There is no such product"


class CurrenciesMixed(OrderRefused):
    """What is in two currencies has no total."""

    status = 422
    code = "currencies_mixed"
    title = "A bill is in one currency"


class OutOfStock(OrderRefused):
    """Product has less of it than was asked for."""

    status = 409
    code = "out_of_stock"
    title = "There is not enough of a product"


class OrderGivenUp(OrderRefused):
    """A neighbour was out of reach for longer than a customer can be expected to wait."""

    status = 409
    code = "order_given_up"
    title = "The bill could not be made in time; ask for it under another Idempotency-Key"


ORDERS_REFUSED = {fault.code: fault for fault in (ProductUnknown, CurrenciesMixed, OutOfStock, OrderGivenUp)}
"""Every `OrderRefused` by its code."""


class BillNotFound(Fault):
    """There is no such bill, or it is another user's: which of the two is nobody's business."""

    status = 404
    code = "bill_not_found"
    title = "There is no such bill"


class DeliveryNotFound(Fault):
    """No such delivery, or none was asked for yet."""

    status = 404
    code = "delivery_not_found"
    title = "There is no such delivery"


class AddressMissing(Fault):
    """Neither the request nor the profile says where to."""

    status = 422
    code = "address_missing"
    title = "Send an address, or put one into the profile"


class AddressFixed(Fault):
    """The delivery was asked for before, to another address."""

    status = 409
    code = "address_fixed"
    title = "The delivery is on its way to another address"


class NeighbourUnavailable(Fault):
    """`service` cannot be reached, is too slow, or says that it cannot serve now."""

    status = 503
    code = "product_unavailable"
    title = "A service that Billing needs does not answer"
    retry_after_seconds = 2

    def __init__(self, service: str) -> None:
        super().__init__(f"It is {service}.")
        self.code = f"{service}_unavailable"


class NeighbourFailed(Fault):
    """`service` refused Billing's call, or answered with what Billing cannot read; waiting will not help."""

    status = 502
    code = "product_failed"
    title = "A service that Billing needs does not serve it"

    def __init__(self, service: str) -> None:
        super().__init__(f"It is {service}.")
        self.code = f"{service}_failed"
