"""What the Product service may answer instead of what was asked for.

    Fault
    ├── ProductNotFound            404  product_not_found
    ├── ProductUnknown             422  product_unknown          a reservation's, and nothing is held
    ├── OutOfStock                 409  out_of_stock             likewise
    ├── ReservationNotFound        404  reservation_not_found
    └── ReservationConflict        409, the reservation is not where it would have to be
        ├── ReservationDiffers          reservation_differs
        ├── ReservationExpired          reservation_expired
        ├── ReservationReleased         reservation_released
        └── ReservationCommitted        reservation_committed

The rules behind them stand in `services.product.catalogue` and `reservations`.
"""

from services.common.faults import Fault


class ProductNotFound(Fault):
    """There is no product with that id, or not any more."""

    status = 404
    code = "product_not_found"
    title = "There is no such product"


class ProductUnknown(Fault):
    """A reservation names a product that there is not, or not any more."""

    status = 422
    code = "product_unknown"
    title = "There is no such product"


class OutOfStock(Fault):
    """There is less of a product than a reservation asks for."""

    status = 409
    code = "out_of_stock"
    title = "There is not enough of a product"


class ReservationNotFound(Fault):
    """Nothing was ever reserved for the bill."""

    status = 404
    code = "reservation_not_found"
    title = "Nothing is reserved for this bill"


class ReservationConflict(Fault):
    """The reservation does not allow what was asked for."""

    status = 409


class ReservationDiffers(ReservationConflict):
    """The bill has a reservation, of other lines."""

    code = "reservation_differs"
    title = "Something else is reserved for this bill"


class ReservationExpired(ReservationConflict):
    """It was held for too long; reserving again may help."""

    code = "reservation_expired"
    title = "The reservation has expired"


class ReservationReleased(ReservationConflict):
    """The bill has been given up."""

    code = "reservation_released"
    title = "The reservation was released"


class ReservationCommitted(ReservationConflict):
    """The bill is issued: what is sold is not given back."""

    code = "reservation_committed"
    title = "The reserved products are sold"
