"""What the runner prints: the purchase, the calls behind it, the refused calls, and the addresses."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from emulator.demo.purchase import CUSTOMER, Purchase
from emulator.demo.refusals import CallResult
from emulator.demo.trace import Hop
from emulator.run.events import CallEvent
from emulator.run.logins import LOGINS
from emulator.run.stack import IDENTITIES, SERVICES, Stack


def money(value: dict[str, Any]) -> str:
    """Return an amount in minor units as text: {"amount": 1999, "currency": "USD"} -> "19.99 USD"."""
    return f"{value['amount'] // 100:,}.{value['amount'] % 100:02d} {value['currency']}"


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(text, style="bold")


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column)
    return table


def show_purchase(console: Console, purchase: Purchase) -> None:
    """Print the bill with its lines and its total, and the status of the delivery."""
    bill = purchase.bill
    _heading(console, f"Bill {bill['id']} for {CUSTOMER.name}")
    table = _table("Product", "Quantity", "Price", "Amount")
    for column in table.columns[1:]:
        column.justify = "right"
    for line in bill["lines"]:
        table.add_row(line["name"], str(line["quantity"]), money(line["unit_price"]), money(line["amount"]))
    table.add_section()
    table.add_row("Total", "", "", money(bill["total"]), style="bold")
    console.print(table)
    console.print(f"The bill is {bill['status']}. The delivery is {purchase.delivery['status']}.")


def show_calls(console: Console, calls: Sequence[CallEvent]) -> None:
    """Print which service called which, in which mode, and the age and id of the token or proof that was spent."""
    _heading(console, "The calls between services for this purchase, from the callees' logs")
    table = _table("Caller", "Callee", "Audience", "Mode", "Age", "One-time id")
    for call in calls:
        # In proof mode the part before the dot is the thumbprint of the key, which is the same for all calls.
        one_time_id = (call.one_time_id or "").rpartition(".")[2]
        age = "" if call.age_seconds is None else f"{call.age_seconds:.1f} s"
        table.add_row(call.caller or "unknown", call.process, call.audience, call.mode, age, one_time_id)
    console.print(table)


def show_trace(console: Console, title: str, hops: Sequence[Hop]) -> None:
    """Print the hops of a call, and how long each took."""
    _heading(console, title)
    table = _table("Where", "What happened", "Time")
    table.columns[2].justify = "right"
    for hop in hops:
        table.add_row(hop.where, hop.what, f"{hop.took_ms:.1f} ms")
    console.print(table)


def show_refusals(console: Console, results: Sequence[CallResult]) -> None:
    """Print how Product answered repeated and forged calls."""
    _heading(console, "How Product answers a call, the same call again, and forged calls")
    table = _table("Sent", "Answer")
    for result in results:
        table.add_row(result.sent, f"{result.status} {result.code}")
    console.print(table)
    console.print(
        "For these calls the runner signed in as svc:billing. On a laptop anyone can do that, because the Auth emulator"
        " accepts any custom token. The ID tokens that it issues are signed and verified as in production."
    )


def show_addresses(console: Console, stack: Stack) -> None:
    """Print the addresses of the storefront and the lab, the demo users, and then where everything else is."""
    _heading(console, "Open in a browser")
    pages = Table(show_header=False)
    pages.add_row("storefront", stack.url("hosting"), "buy something")
    pages.add_row("lab", stack.url("lab"), "watch the calls of a purchase")
    console.print(pages)
    _heading(console, "Demo users")
    logins = _table("Role", "Name", "E-mail", "Password")
    for login in LOGINS:
        logins.add_row(login.role, login.name, login.email, login.password)
    console.print(logins)
    _heading(console, "Services and emulators")
    addresses = Table(show_header=False)
    for service in SERVICES:
        addresses.add_row(service, f"{stack.url(service)}/docs")
    addresses.add_row("signed auth emulator", stack.url("signed_auth"))
    addresses.add_row("unsigned auth emulator", stack.url("auth"))
    addresses.add_row("function health", stack.function_url("health"))
    addresses.add_row("function token", stack.function_url("token"))
    addresses.add_row("tasks emulator", stack.url("tasks"))
    for name in IDENTITIES:
        addresses.add_row(f"metadata of {name}", stack.url(f"metadata_{name}"))
    console.print(addresses)
    console.print(f"Logs and databases are in {stack.data}", soft_wrap=True)
