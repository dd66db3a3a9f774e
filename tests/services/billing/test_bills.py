"""The bills of services/billing over HTTP, with the real Product service"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.common.ids import new_id
from tests.services.billing.conftest import Shop
from tests.services.shop import HeldTransport, answered, refused


@pytest.mark.both_databases
async def test_a_bill(shop: Shop) -> None:
    """A bill has a line for each product in the requested order, at Product's prices, and their sum."""
    kettle = await shop.offer(name="Kettle", price={"amount": 4990, "currency": "USD"})
    cups = await shop.offer(name="Cups", price={"amount": 1999, "currency": "USD"})
    bill = answered(await shop.order((cups["id"], 3), (kettle["id"], 1)), 201)
    assert datetime.now(UTC) - datetime.fromisoformat(bill.pop("created_at")) < timedelta(minutes=1)
    assert bill == {
        "id": bill["id"],
        "user_id": "maya",
        "status": "issued",
        "lines": [
            {
                "product_id": cups["id"],
                "name": "Cups",
                "quantity": 3,
                "unit_price": {"amount": 1999, "currency": "USD"},
                "amount": {"amount": 5997, "currency": "USD"},
            },
            {
                "product_id": kettle["id"],
                "name": "Kettle",
                "quantity": 1,
                "unit_price": {"amount": 4990, "currency": "USD"},
                "amount": {"amount": 4990, "currency": "USD"},
            },
        ],
        "total": {"amount": 10987, "currency": "USD"},
    }


async def test_a_bill_keeps_its_prices(shop: Shop) -> None:
    """A bill does not change when its products are changed or deleted."""
    kettle = await shop.offer()
    bill = answered(await shop.order((kettle["id"], 2)), 201)
    path, change = f"/products/{kettle['id']}", {"name": "Pot", "price": {"amount": 1, "currency": "EUR"}}
    answered(await shop.product.patch(path, json=change, headers=shop.admin))
    assert answered(await shop.billing.get(f"/bills/{bill['id']}", headers=shop.maya)) == bill
    assert (await shop.product.delete(path, headers=shop.admin)).status_code == 204
    assert answered(await shop.billing.get(f"/bills/{bill['id']}", headers=shop.maya)) == bill


async def test_the_largest_bill(shop: Shop) -> None:
    """The highest prices, quantities and number of lines add up exactly, in the requested order."""
    price, stock = {"amount": 100_000_000, "currency": "USD"}, 1_000_000
    ids = [(await shop.offer(price=price, stock=stock))["id"] for _ in range(100)][::-1]
    bill = answered(await shop.order(*((product_id, 1000) for product_id in ids)), 201)
    assert bill["total"]["amount"] == 10**13
    assert [line["product_id"] for line in bill["lines"]] == ids
    assert await shop.bills() == [bill]


@pytest.mark.parametrize("quantity", [0, -1, 1001, 10**30, 1.5, "1", None, True])
async def test_an_invalid_quantity(shop: Shop, quantity: Any) -> None:
    """A quantity must be a whole number from 1 to 1000."""
    kettle = await shop.offer()
    refused(await shop.order((kettle["id"], quantity)), 422, "request_invalid")
    assert await shop.bills() == []


@pytest.mark.parametrize("count", [0, 101])
async def test_too_few_and_too_many_lines(shop: Shop, count: int) -> None:
    """A bill must have 1 to 100 lines."""
    refused(await shop.order(*((new_id(), 1) for _ in range(count))), 422, "request_invalid")


@pytest.mark.parametrize("product_id", ["", "a,b", "a\0", "x" * 33, "a/b", None])
@pytest.mark.both_databases
async def test_an_invalid_product_id(shop: Shop, product_id: Any) -> None:
    """Text that cannot be the id of a product is refused before Product is asked."""
    refused(await shop.order((product_id, 1)), 422, "request_invalid")
    assert shop.to_product.requests == []


async def test_a_product_that_does_not_exist(shop: Shop) -> None:
    """If one of the products does not exist, there is no bill."""
    kettle, unknown = await shop.offer(), new_id()
    problem = refused(await shop.order((kettle["id"], 1), (unknown, 1)), 422, "product_unknown")
    assert unknown in problem["detail"]
    assert await shop.bills() == []


async def test_a_product_twice(shop: Shop) -> None:
    """A request that names a product twice is refused, because its quantities may be a mistake."""
    kettle = await shop.offer()
    refused(await shop.order((kettle["id"], 1), (kettle["id"], 2)), 422, "product_repeated")
    assert await shop.bills() == []


async def test_two_currencies(shop: Shop) -> None:
    """Products with prices in two currencies make no bill."""
    dollars = await shop.offer()
    euros = await shop.offer(price={"amount": 1, "currency": "EUR"})
    problem = refused(await shop.order((dollars["id"], 1), (euros["id"], 1)), 422, "currencies_mixed")
    assert problem["detail"] == "These products have prices in EUR and USD."
    assert await shop.bills() == []


async def test_not_enough_in_stock(shop: Shop) -> None:
    """The last unit can be bought. If fewer are in stock than requested, there is no bill."""
    kettle = await shop.offer(stock=2)
    refused(await shop.order((kettle["id"], 3)), 409, "out_of_stock")
    assert await shop.bills() == []
    answered(await shop.order((kettle["id"], 2)), 201)


async def test_the_same_request_again(shop: Shop) -> None:
    """The same key and items get the same bill again, even if Product is gone or has another price."""
    kettle = await shop.offer()
    bill = answered(await shop.order((kettle["id"], 1), key="k"), 201)
    await shop.product.delete(f"/products/{kettle['id']}", headers=shop.admin)
    assert answered(await shop.order((kettle["id"], 1), key="k"), 201) == bill
    assert await shop.bills() == [bill]


async def test_a_key_for_other_items(shop: Shop) -> None:
    """A key that was used for a bill is refused with other products or another quantity."""
    kettle, cups = await shop.offer(), await shop.offer()
    bill = answered(await shop.order((kettle["id"], 1), key="k"), 201)
    refused(await shop.order((kettle["id"], 2), key="k"), 422, "idempotency_key_reused")
    refused(await shop.order((cups["id"], 1), key="k"), 422, "idempotency_key_reused")
    assert await shop.bills() == [bill]


async def test_two_users_may_use_the_same_key(shop: Shop) -> None:
    """Two users who send the same key get their own bills."""
    kettle = await shop.offer()
    mayas = answered(await shop.order((kettle["id"], 1), key="k"), 201)
    tomas = answered(await shop.order((kettle["id"], 1), key="k", by=shop.tomas), 201)
    assert (mayas["user_id"], tomas["user_id"]) == ("maya", "tomas")
    assert mayas["id"] != tomas["id"]


@pytest.mark.both_databases
async def test_concurrent_requests_with_one_key(shop: Shop) -> None:
    """The same request many times at once makes one bill. Every answer is that bill, or that it is in progress."""
    kettle = await shop.offer()
    product = HeldTransport(shop.to_product.transport)
    shop.to_product.outcome = product
    requests = [asyncio.create_task(shop.order((kettle["id"], 1), key="k")) for _ in range(50)]
    # Product answers the request that came first when another one has its answer: so they do overlap.
    await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    product.may_answer.set()
    responses = await asyncio.gather(*requests)
    bills = [answered(response, 201) for response in responses if response.status_code == 201]
    early = [refused(response, 409, "bill_in_progress") for response in responses if response.status_code != 201]
    assert early
    assert bills == [bills[0]] * len(bills)
    assert answered(await shop.order((kettle["id"], 1), key="k"), 201) == bills[0]
    assert await shop.bills() == [bills[0]]
    assert await shop.stock_of(kettle) == kettle["stock"] - 1


@pytest.mark.both_databases
async def test_concurrent_requests_for_other_items_with_one_key(shop: Shop) -> None:
    """Of two concurrent requests for other items under one key, one gets its bill and the other is refused."""
    kettle = await shop.offer()
    responses = await asyncio.gather(*(shop.order((kettle["id"], quantity), key="k") for quantity in (1, 2)))
    assert sorted(response.status_code for response in responses) == [201, 422]
    assert len(await shop.bills()) == 1


async def test_a_refused_request_stays_refused_under_its_key(shop: Shop) -> None:
    """A refused request gets the same answer again, even if it could succeed now. A new key helps."""
    kettle = await shop.offer(stock=0)
    problem = refused(await shop.order((kettle["id"], 1), key="k"), 409, "out_of_stock")
    await shop.product.patch(f"/products/{kettle['id']}", json={"stock": 1}, headers=shop.admin)
    assert refused(await shop.order((kettle["id"], 1), key="k"), 409, "out_of_stock") == problem
    refused(await shop.order((kettle["id"], 2), key="k"), 422, "idempotency_key_reused")
    answered(await shop.order((kettle["id"], 1), key="other"), 201)


async def test_an_invalid_request_does_not_use_its_key(shop: Shop) -> None:
    """A request that is not valid can be corrected and sent again under the same key."""
    kettle = await shop.offer()
    refused(await shop.order((kettle["id"], 0), key="k"), 422, "request_invalid")
    refused(await shop.order((kettle["id"], 1), (kettle["id"], 1), key="k"), 422, "product_repeated")
    answered(await shop.order((kettle["id"], 1), key="k"), 201)


@pytest.mark.parametrize("keys", [[], [""], ["a b"], ["x" * 256], ["a", "b"], [b"\xe9"]])
async def test_an_invalid_key(shop: Shop, keys: list[Any]) -> None:
    """Without exactly one valid Idempotency-Key there is no bill."""
    kettle = await shop.offer()
    body = {"items": [{"product_id": kettle["id"], "quantity": 1}]}
    headers = [*shop.maya.items(), *(("Idempotency-Key", key) for key in keys)]
    refused(await shop.billing.post("/bills", json=body, headers=headers), 400, "idempotency_key_missing")
    assert await shop.bills() == []


@pytest.mark.both_databases
async def test_users_see_only_their_own_bills(shop: Shop) -> None:
    """To other users a bill does not exist, on any path. An administrator sees it."""
    bill = await shop.bill()
    for path in (f"/bills/{bill['id']}", f"/bills/{bill['id']}/invoice", f"/bills/{bill['id']}/delivery"):
        foreign = refused(await shop.billing.get(path, headers=shop.tomas), 404, "bill_not_found")
        unknown = await shop.billing.get(path.replace(bill["id"], new_id()), headers=shop.tomas)
        assert refused(unknown, 404, "bill_not_found") == foreign
    answer = await shop.billing.post(f"/bills/{bill['id']}/delivery", json={}, headers=shop.tomas)
    refused(answer, 404, "bill_not_found")
    assert await shop.bills(shop.tomas) == []
    assert answered(await shop.billing.get(f"/bills/{bill['id']}", headers=shop.admin)) == bill
    assert await shop.bills(shop.admin) == [bill]


async def test_bills_are_for_users(shop: Shop) -> None:
    """Services, and callers without a token, may not use the routes of bills."""
    service, body = (
        shop.firebase.service_auth("product", to="billing"),
        {"items": [{"product_id": new_id(), "quantity": 1}]},
    )
    response = await shop.billing.post("/bills", json=body, headers={"Idempotency-Key": "key"}, auth=service)
    refused(response, 403, "caller_not_allowed")
    refused(await shop.billing.get("/bills"), 401, "user_token_missing")


@pytest.mark.both_databases
async def test_pages_of_bills(shop: Shop) -> None:
    """Pages of bills follow each other, the latest bill first, each bill once and with its own lines."""
    first, second = await shop.offer(name="One", stock=99), await shop.offer(name="Two", stock=99)
    made = []
    for quantity in range(1, 6):
        made.append(answered(await shop.order((first["id"], quantity), (second["id"], quantity)), 201))
        await asyncio.sleep(0.002)
    seen: list[dict[str, Any]] = []
    params = {"limit": "2"}
    while True:
        page = answered(await shop.billing.get("/bills", params=params, headers=shop.maya))
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == made[::-1]


async def test_the_openapi_document(shop: Shop) -> None:
    """The OpenAPI document says that a bill needs a key, and lists the possible answers."""
    document = answered(await shop.billing.get("/openapi.json"))
    operation = document["paths"]["/bills"]["post"]
    assert [(parameter["name"], parameter["required"]) for parameter in operation["parameters"]] == [
        ("Idempotency-Key", True)
    ]
    expected = {"201", "400", "401", "403", "408", "409", "413", "422", "500", "502", "503", "504"}
    assert set(operation["responses"]) == expected
    invoice = document["paths"]["/bills/{bill_id}/invoice"]["get"]["responses"]["200"]
    assert set(invoice["content"]) == {"text/html"}
