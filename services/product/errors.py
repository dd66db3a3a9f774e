"""The errors that Product may answer with.

Problem
├── ProductNotFound                404  product_not_found
├── ProductUnknown                 422  product_unknown          nothing was reserved
├── OutOfStock                     409  out_of_stock             nothing was reserved
├── ReservationNotFound            404  reservation_not_found
└── ReservationConflict            409, the reservation's present state does not allow the call
├── ReservationDiffers              reservation_differs
├── ReservationExpired              reservation_expired
├── ReservationReleased             reservation_released
└── ReservationCommitted            reservation_committed
"""

from mstoken.problem import Problem


class ProductNotFound(Problem):
    """There is no product with that id, or it was deleted."""

    status = 404
    code = "product_not_found"
    title = "There is no such product"


class ProductUnknown(Problem):
    """A reservation names a product that does not exist, or was deleted."""

    status = 422
    code = "product_unknown"
    title = "There is no such product"


class OutOfStock(Problem):
    """A reservation asks for more units of a product than there are in stock."""

    status = 409
    code = "out_of_stock"
    title = "There are not enough units of a product in stock"


class ReservationNotFound(Problem):
    """Nothing was ever reserved for the bill."""

    status = 404
    code = "reservation_not_found"
    title = "This bill has no reservation"


class ReservationConflict(Problem):
    """The reservation's present state does not allow the call."""

    status = 409


class ReservationDiffers(ReservationConflict):
    """The bill has a reservation of other items."""

    code = "reservation_differs"
    title = "This bill has a reservation of other items"


class ReservationExpired(ReservationConflict):
    """The items were held for too long and are back in stock. They may be reserved again."""

    code = "reservation_expired"
    title = "The reservation has expired"


class ReservationReleased(ReservationConflict):
    """The reservation was released. Nothing can be reserved for this bill any more."""

    code = "reservation_released"
    title = "The reservation was released"


class ReservationCommitted(ReservationConflict):
    """The items were sold, so they cannot be released."""

    code = "reservation_committed"
    title = "The reserved items were sold"
