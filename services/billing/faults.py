"""What the Billing service may answer instead of what was asked for.

    Fault
    ├── IdempotencyKeyMissing     400  idempotency_key_missing
    ├── IdempotencyKeyReused      422  idempotency_key_reused
    ├── ItemsRefused              422, and no bill
    │   ├── ProductRepeated            product_repeated
    │   ├── ProductUnknown             product_unknown
    │   └── CurrenciesMixed            currencies_mixed
    ├── OutOfStock                409  out_of_stock, and no bill
    ├── BillNotFound              404  bill_not_found              also for another user's
    ├── DeliveryNotFound          404  delivery_not_found
    ├── AddressMissing            422  address_missing
    ├── AddressFixed              409  address_fixed
    ├── NeighbourUnavailable      503  product_unavailable, user_unavailable
    └── NeighbourFailed           502  product_failed, user_failed

The rules behind them stand in `services.billing.bills`, `deliveries` and `neighbours`.
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


class ItemsRefused(Fault):
    """No bill can be made of these items."""

    status = 422


class ProductRepeated(ItemsRefused):
    """A bill has one line for a product."""

    code = "product_repeated"
    title = "A product stands in the bill twice"


class ProductUnknown(ItemsRefused):
    """Product does not have it, or not any more."""

    code = "product_unknown"
    title = "There is no such product"


class CurrenciesMixed(ItemsRefused):
    """What is in two currencies has no total."""

    code = "currencies_mixed"
    title = "A bill is in one currency"


class OutOfStock(Fault):
    """Product has less of it than was asked for."""

    status = 409
    code = "out_of_stock"
    title = "There is not enough of a product"


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
