"""What the runner shows: the purchase, the calls behind it, the refused tokens, and where everything is."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from emulator.demo.calls import LoggedCall
from emulator.demo.purchase import CUSTOMER, Purchase
from emulator.demo.refusals import CallResult
from emulator.demo.trace import Hop
from emulator.run.logins import LOGINS
from emulator.run.stack import IDENTITIES, SERVICES, Stack


def money(value: dict[str, Any]) -> str:
    """An amount in minor units as people write it: {"amount": 1999, "currency": "USD"} -> "19.99 USD"."""
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
    """The bill with its lines and total, and the state of its delivery."""
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
    console.print(f"The bill is {bill['status']}; its delivery is {purchase.delivery['status']}.")


def show_calls(console: Console, calls: Sequence[LoggedCall]) -> None:
    """Which service called which, in which mode, and the age and id of what counted once: the token, or the proof."""
    _heading(console, "The calls between services behind it, from the callees' logs")
    table = _table("Caller", "Called", "Audience", "Mode", "Age", "One-time id")
    for call in calls:
        # Before the dot is the thumbprint of the key, the same for all calls of a process.
        one_time_id = call.one_time_id.rpartition(".")[2]
        table.add_row(call.caller, call.callee, call.audience, call.mode, f"{call.age_seconds:.1f} s", one_time_id)
    console.print(table)


def show_trace(console: Console, title: str, hops: Sequence[Hop]) -> None:
    """Each hop of a call's way, and how long it took."""
    _heading(console, title)
    table = _table("Where", "What happened", "Took")
    table.columns[2].justify = "right"
    for hop in hops:
        table.add_row(hop.where, hop.what, f"{hop.took_ms:.1f} ms")
    console.print(table)


def show_refusals(console: Console, attempts: Sequence[CallResult]) -> None:
    """That a call is served once only, and a forged one never."""
    _heading(console, "What Product makes of what somebody else sends it")
    table = _table("Sent", "Answer")
    for attempt in attempts:
        table.add_row(attempt.sent, f"{attempt.status} {attempt.code}")
    console.print(table)
    console.print(
        "For this the runner signed in as svc:billing itself. On a laptop anyone can, since the Auth emulator"
        " takes any custom token; what it issues is signed and verified as in production."
    )


def show_addresses(console: Console, stack: Stack) -> None:
    """Where everything listens, and whom to log in as."""
    _heading(console, "Addresses")
    addresses = Table(show_header=False)
    for service in SERVICES:
        addresses.add_row(service, f"{stack.url(service)}/docs")
    addresses.add_row("signed auth emulator", stack.url("signed_auth"))
    addresses.add_row("auth emulator behind it", stack.url("auth"))
    addresses.add_row("function health", stack.function_url("health"))
    addresses.add_row("function token", stack.function_url("token"))
    addresses.add_row("tasks emulator", stack.url("tasks"))
    for name in IDENTITIES:
        addresses.add_row(f"metadata of {name}", stack.url(f"metadata_{name}"))
    console.print(addresses)
    console.print(f"Logs and databases are in {stack.data}", soft_wrap=True)
    _heading(console, "Demo log-ins")
    logins = _table("Role", "Name", "E-mail", "Password")
    for login in LOGINS:
        logins.add_row(login.role, login.name, login.email, login.password)
    console.print(logins)
