"""The invoice: a bill as a page to print."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.billing.bills import Bill
from services.billing.deliveries import Delivery
from services.billing.neighbours import Customer

_FOLDER = Path(__file__).parent / "templates"
_STYLE = (_FOLDER / "invoice.css").read_text()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The page brings its one style sheet along, and may load and do nothing else (CSP Level 3)."""

_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
_MINOR_DIGITS = {currency: digits for digits, currencies in _DIGITS.items() for currency in currencies.split()}
"""How many decimal digits the minor unit is, where it is not two (ISO 4217)."""


def money(amount: int, currency: str) -> str:
    """An amount of minor units as people write it: `money(123456, "USD")` is `1,234.56 USD` (ISO 4217)."""
    digits = _MINOR_DIGITS.get(currency, 2)
    whole, rest = divmod(amount, 10**digits)
    return f"{whole:,}{f'.{rest:0{digits}d}' if digits else ''} {currency}"


_environment = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_environment.globals["money"] = money


def page(bill: Bill, customer: Customer | None, delivery: Delivery | None) -> str:
    """The invoice as HTML. A user whom User does not know is named by the delivery's address, or not at all."""
    address = customer.address.model_dump() if customer and customer.address else None
    addressee = (customer and customer.name) or (address or (delivery.address if delivery else {})).get("name")
    return _environment.get_template("invoice.html").render(
        bill=bill, addressee=addressee, address=address, delivery=delivery, style=_STYLE
    )
