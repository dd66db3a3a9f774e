"""What the runner shows: the purchase, the calls behind it, the refused replay, and where everything is."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from emulator.calls import Call
from emulator.logins import LOGINS
from emulator.purchase import CUSTOMER, Purchase
from emulator.stack import SERVICES, Stack


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


def show_calls(console: Console, calls: Sequence[Call]) -> None:
    """Which service called which, and each token's audience, age and id."""
    _heading(console, "The calls between services behind it, from the callees' logs")
    table = _table("Caller", "Called", "Audience", "Token's age", "Token's id")
    for call in calls:
        table.add_row(call.caller, call.callee, call.audience, f"{call.age_seconds:.1f} s", call.token_id)
    console.print(table)


def show_refusal(console: Console, refusal: dict[str, Any]) -> None:
    """That a token is served once only; refusal is the problem+json that its second use got."""
    _heading(console, "One token, sent to Product twice")
    console.print(f"first   200 served\nsecond  {refusal['status']} {refusal['code']}")
    console.print(
        "For this the runner signed in as svc:billing itself. On a laptop anyone can be any service,"
        " since the Auth emulator checks no signature."
    )


def show_addresses(console: Console, stack: Stack) -> None:
    """Where everything listens, and whom to log in as."""
    _heading(console, "Addresses")
    addresses = Table(show_header=False)
    for service in SERVICES:
        addresses.add_row(service, f"{stack.url(service)}/docs")
    addresses.add_row("auth emulator", stack.url("auth"))
    addresses.add_row("function health", stack.function_url("health"))
    addresses.add_row("tasks emulator", stack.url("tasks"))
    console.print(addresses)
    console.print(f"Logs and databases are in {stack.data}", soft_wrap=True)
    _heading(console, "Demo log-ins")
    logins = _table("Role", "Name", "E-mail", "Password")
    for login in LOGINS:
        logins.add_row(login.role, login.name, login.email, login.password)
    console.print(logins)
