"""Invoices: bills as HTML pages to print."""

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
"""The page contains its only style sheet, and may load and run nothing else (CSP Level 3)."""

_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
_MINOR_DIGITS = {currency: digits for digits, currencies in _DIGITS.items() for currency in currencies.split()}
"""The decimal digits of the minor unit of currencies that do not have two (ISO 4217)."""


def money(amount: int, currency: str) -> str:
    """Return an amount in minor units as text: `money(123456, "USD")` is `1,234.56 USD`."""
    digits = _MINOR_DIGITS.get(currency, 2)
    major, minor = divmod(amount, 10**digits)
    return f"{major:,}{f'.{minor:0{digits}d}' if digits else ''} {currency}"


_environment = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_environment.globals["money"] = money


def page(bill: Bill, customer: Customer | None, delivery: Delivery | None) -> str:
    """Return the invoice as HTML. Without `customer` it has the name in the delivery's address, or no name."""
    address = customer.address.model_dump() if customer and customer.address else None
    customer_name = (customer and customer.name) or (address or (delivery.address if delivery else {})).get("name")
    return _environment.get_template("invoice.html").render(
        bill=bill, customer_name=customer_name, address=address, delivery=delivery, style=_STYLE
    )
