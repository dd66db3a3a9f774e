"""The errors that Billing may answer with.

Problem
├── IdempotencyKeyMissing     400  idempotency_key_missing
├── IdempotencyKeyReused      422  idempotency_key_reused
├── ProductRepeated           422  product_repeated
├── BillInProgress            409  bill_in_progress            send the request again
├── OrderRefused                   the order never leads to a bill
│   ├── ProductUnknown        422  product_unknown
│   ├── CurrenciesMixed       422  currencies_mixed
│   ├── OutOfStock            409  out_of_stock
│   └── OrderGivenUp          409  order_given_up
├── BillNotFound              404  bill_not_found
├── DeliveryNotFound          404  delivery_not_found
├── AddressMissing            422  address_missing
├── AddressFixed              409  address_fixed
├── NeighbourUnavailable      503, another service does not answer; send the request again
│   ├── ProductUnavailable         product_unavailable
│   └── UserUnavailable            user_unavailable
└── NeighbourFailed           502, another service refused Billing's call, or its answer is not valid
├── ProductFailed              product_failed
└── UserFailed                 user_failed
"""

from typing import ClassVar

from mstoken.problem import Problem


class IdempotencyKeyMissing(Problem):
    """The request carries no valid idempotency key. Without one, a client could not safely repeat it."""

    status = 400
    code = "idempotency_key_missing"
    title = "The header Idempotency-Key must be sent once, with 1 to 255 visible ASCII characters"


class IdempotencyKeyReused(Problem):
    """The user sent the key before, with other items."""

    status = 422
    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for another request"


class ProductRepeated(Problem):
    """Two items of the request name the same product."""

    status = 422
    code = "product_repeated"
    title = "Each product may appear only once"


class BillInProgress(Problem):
    """The same request is being served by another worker, and has no answer yet.

    `retry_after_seconds` is when another request may get one.
    """

    status = 409
    code = "bill_in_progress"
    title = "The first request with this Idempotency-Key is still in progress"

    def __init__(self, *, retry_after_seconds: int = 1) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class OrderRefused(Problem):
    """The order never leads to a bill: the same request under the same key gets the same answer."""


class ProductUnknown(OrderRefused):
    """Product has no such product, or has deleted it."""

    status = 422
    code = "product_unknown"
    title = "There is no such product"


class CurrenciesMixed(OrderRefused):
    """The items have prices in more than one currency."""

    status = 422
    code = "currencies_mixed"
    title = "All items of a bill must have prices in the same currency"


class OutOfStock(OrderRefused):
    """Product has fewer units of a product than the order asks for."""

    status = 409
    code = "out_of_stock"
    title = "There are not enough units of a product in stock"


class OrderGivenUp(OrderRefused):
    """Another service was unavailable for so long that the order was abandoned."""

    status = 409
    code = "order_given_up"
    title = "The bill could not be issued in time; order again with another Idempotency-Key"


ORDER_REFUSALS = {refusal.code: refusal for refusal in (ProductUnknown, CurrenciesMixed, OutOfStock, OrderGivenUp)}
"""Every kind of `OrderRefused` by its code."""


class BillNotFound(Problem):
    """There is no such bill, or it belongs to another user. The answer does not tell which."""

    status = 404
    code = "bill_not_found"
    title = "There is no such bill"


class DeliveryNotFound(Problem):
    """There is no such delivery, or none was requested for the bill."""

    status = 404
    code = "delivery_not_found"
    title = "There is no such delivery"


class AddressMissing(Problem):
    """Neither the request nor the user's profile has an address."""

    status = 422
    code = "address_missing"
    title = "An address is required, in the request or in the user's profile"


class AddressFixed(Problem):
    """The bill's delivery was requested before, to another address."""

    status = 409
    code = "address_fixed"
    title = "The delivery was requested for another address, which cannot be changed"


class NeighbourUnavailable(Problem):
    """`service` cannot be reached, is too slow, or answered that it cannot serve now."""

    service: ClassVar[str]
    status = 503
    retry_after_seconds = 2


class ProductUnavailable(NeighbourUnavailable):
    """Product does not answer."""

    service = "product"
    code = "product_unavailable"
    title = "The Product service does not answer"


class UserUnavailable(NeighbourUnavailable):
    """User does not answer."""

    service = "user"
    code = "user_unavailable"
    title = "The User service does not answer"


class NeighbourFailed(Problem):
    """`service` refused Billing's call, or gave an answer that Billing cannot read. Waiting does not help."""

    service: ClassVar[str]
    status = 502


class ProductFailed(NeighbourFailed):
    """Product refused the call, or its answer is not valid."""

    service = "product"
    code = "product_failed"
    title = "The Product service refused Billing's call, or its answer is not valid"


class UserFailed(NeighbourFailed):
    """User refused the call, or its answer is not valid."""

    service = "user"
    code = "user_failed"
    title = "The User service refused Billing's call, or its answer is not valid"
