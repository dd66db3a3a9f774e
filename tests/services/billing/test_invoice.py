"""services/billing/invoice.py, and its route"""

import base64
import hashlib
import re

import httpx
import pytest

from services.billing.invoice import money
from tests.services.billing.conftest import Shop
from tests.services.shop import ADDRESS, answered, refused


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (0, "USD", "0.00 USD"),
        (5, "EUR", "0.05 EUR"),
        (123456789, "USD", "1,234,567.89 USD"),
        (1234, "JPY", "1,234 JPY"),
        (1234, "KWD", "1.234 KWD"),
    ],
)
def test_money(amount: int, currency: str, text: str) -> None:
    """Each currency is written with as many digits as its minor unit has."""
    assert money(amount, currency) == text


async def invoice(shop: Shop, bill_id: str) -> httpx.Response:
    response = await shop.billing.get(f"/bills/{bill_id}/invoice", headers=shop.maya)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.both_databases
async def test_an_invoice(shop: Shop) -> None:
    """An invoice shows the seller, the customer with the address, the lines, the total and the delivery."""
    answered(await shop.user.patch("/profile", json={"address": ADDRESS | {"name": "M. L."}}, headers=shop.maya))
    bill = await shop.bill(name="Kettle")
    response = await invoice(shop, bill["id"])
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.text.startswith("<!doctype html>")
    for part in ("Demo Shop", "Maya Lindgren", "12 Harbour Street", "97201", "Kettle", "49.90 USD", bill["id"]):
        assert part in response.text
    assert "Not requested yet" in response.text
    delivery = ADDRESS | {"line2": "Floor 3", "city": "Salem"}
    path = f"/bills/{bill['id']}/delivery"
    answered(await shop.billing.post(path, json={"address": delivery}, headers=shop.maya), 202)
    page = (await invoice(shop, bill["id"])).text
    assert all(part in page for part in ("Requested", "Floor 3", "Salem", "Portland"))


async def test_names_are_escaped(shop: Shop) -> None:
    """Names that contain HTML are shown as text."""
    answered(await shop.user.patch("/profile", json={"display_name": "<b>&'\""}, headers=shop.maya))
    bill = await shop.bill(name="<script>alert(1)</script>")
    page = (await invoice(shop, bill["id"])).text
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;&amp;&#39;&#34;" in page


async def test_an_invoice_may_load_and_run_nothing(shop: Shop) -> None:
    """The page's policy allows only its own style sheet, by its hash. The page may not be cached or framed."""
    response = await invoice(shop, (await shop.bill())["id"])
    [style] = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "frame-ancestors 'none'" in policy
    assert "style=" not in response.text
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_invoice_for_a_user_without_a_profile(shop: Shop) -> None:
    """Without a profile the invoice has the name in the delivery's address. Without a delivery it has no name."""
    bill = await shop.bill()
    assert "Name not known" in (await invoice(shop, bill["id"])).text
    path = f"/bills/{bill['id']}/delivery"
    answered(await shop.billing.post(path, json={"address": ADDRESS}, headers=shop.maya), 202)
    assert "Name not known" not in (await invoice(shop, bill["id"])).text


async def test_an_invoice_while_the_user_service_is_unavailable(shop: Shop) -> None:
    """While the customer's name cannot be read, the answer is 503."""
    bill = await shop.bill()
    shop.to_user.answers_with(httpx.ConnectError("refused"))
    answer = await shop.billing.get(f"/bills/{bill['id']}/invoice", headers=shop.maya)
    refused(answer, 503, "user_unavailable")
