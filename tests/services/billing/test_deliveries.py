"""The deliveries of services/billing over HTTP, with the real User service"""

import asyncio
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.ids import new_id
from tests.services.billing.conftest import Shop
from tests.services.shop import ADDRESS, answered, refused


async def deliver(shop: Shop, bill: dict[str, Any], body: dict[str, Any] | None = None) -> httpx.Response:
    return await shop.billing.post(f"/bills/{bill['id']}/delivery", json=body, headers=shop.maya)


async def report(shop: Shop, delivery: dict[str, Any], status: str) -> httpx.Response:
    auth = shop.firebase.service_auth("delivery", to="billing")
    return await shop.billing.post(f"/deliveries/{delivery['id']}/events", json={"status": status}, auth=auth)


async def live_at(shop: Shop, address: dict[str, Any]) -> None:
    answered(await shop.user.patch("/profile", json={"address": address}, headers=shop.maya))


@pytest.mark.both_databases
async def test_a_delivery_to_an_address(shop: Shop) -> None:
    """A delivery to the address in the request is requested, and can be read afterwards."""
    bill = await shop.bill()
    delivery = answered(await deliver(shop, bill, {"address": ADDRESS}), 202)
    assert (delivery["bill_id"], delivery["status"], delivery["address"]) == (bill["id"], "requested", ADDRESS)
    path = f"/bills/{bill['id']}/delivery"
    assert answered(await shop.billing.get(path, headers=shop.maya)) == delivery
    assert answered(await shop.billing.get(path, headers=shop.admin)) == delivery
    assert shop.to_user.requests == []


@pytest.mark.parametrize("body", [None, {}, {"address": None}])
async def test_a_delivery_to_the_address_in_the_profile(shop: Shop, body: dict[str, Any] | None) -> None:
    """Without an address, a delivery goes to the address in the user's profile."""
    await live_at(shop, ADDRESS)
    delivery = answered(await deliver(shop, await shop.bill(), body), 202)
    assert delivery["address"] == ADDRESS


async def test_an_administrator_requests_a_delivery(shop: Shop) -> None:
    """The profile is that of the bill's user, not that of the administrator who requests the delivery."""
    await live_at(shop, ADDRESS)
    bill = await shop.bill()
    answer = await shop.billing.post(f"/bills/{bill['id']}/delivery", headers=shop.admin)
    assert answered(answer, 202)["address"] == ADDRESS


async def test_no_address_anywhere(shop: Shop) -> None:
    """If neither the request nor the profile has an address, or there is no profile, nothing is requested."""
    bill = await shop.bill()
    refused(await deliver(shop, bill), 422, "address_missing")
    answered(await shop.user.get("/profile", headers=shop.maya))
    refused(await deliver(shop, bill), 422, "address_missing")
    answer = await shop.billing.get(f"/bills/{bill['id']}/delivery", headers=shop.maya)
    refused(answer, 404, "delivery_not_found")


async def test_the_user_service_is_unavailable(shop: Shop) -> None:
    """While the User service cannot be asked for the address, nothing is requested."""
    shop.to_user.answers_with(httpx.ConnectError("refused"))
    refused(await deliver(shop, await shop.bill()), 503, "user_unavailable")


@pytest.mark.parametrize("change", [{"country": "ZZ"}, {"city": None}, {"planet": "Mars"}])
async def test_an_invalid_address(shop: Shop, change: dict[str, Any]) -> None:
    """An address must be complete, and in an existing country."""
    answer = await deliver(shop, await shop.bill(), {"address": ADDRESS | change})
    refused(answer, 422, "request_invalid")


async def test_a_repeated_request(shop: Shop) -> None:
    """A repeated request, with the same address or none, returns the same delivery with its present status."""
    bill = await shop.bill()
    delivery = answered(await deliver(shop, bill, {"address": ADDRESS}), 202)
    assert answered(await deliver(shop, bill, {"address": ADDRESS}), 202) == delivery
    assert answered(await deliver(shop, bill), 202) == delivery
    answered(await report(shop, delivery, "dispatched"))
    again = answered(await deliver(shop, bill), 202)
    assert (again["id"], again["status"]) == (delivery["id"], "dispatched")


async def test_another_address(shop: Shop) -> None:
    """A delivery cannot be redirected to another address."""
    bill = await shop.bill()
    delivery = answered(await deliver(shop, bill, {"address": ADDRESS}), 202)
    refused(await deliver(shop, bill, {"address": ADDRESS | {"city": "Salem"}}), 409, "address_fixed")
    assert answered(await deliver(shop, bill), 202) == delivery


@pytest.mark.both_databases
async def test_concurrent_requests(shop: Shop) -> None:
    """The same request many times at once makes one delivery, which all answers return."""
    bill = await shop.bill()
    requests = (deliver(shop, bill, {"address": ADDRESS}) for _ in range(12))
    deliveries = [answered(response, 202) for response in await asyncio.gather(*requests)]
    assert deliveries == [deliveries[0]] * 12


@pytest.mark.parametrize(
    ("events", "status"),
    [
        (["dispatched"], "dispatched"),
        (["dispatched", "delivered"], "delivered"),
        (["dispatched", "failed"], "failed"),
        (["delivered"], "delivered"),
        (["failed"], "failed"),
        (["dispatched", "dispatched"], "dispatched"),
        (["delivered", "dispatched"], "delivered"),
        (["failed", "dispatched"], "failed"),
        (["delivered", "failed"], "delivered"),
        (["failed", "delivered"], "failed"),
    ],
)
async def test_a_status_only_goes_forward(shop: Shop, events: list[str], status: str) -> None:
    """Events advance a delivery. Repeated and late ones change nothing, and are answered with success."""
    delivery = answered(await deliver(shop, await shop.bill(), {"address": ADDRESS}), 202)
    for event in events:
        reported = answered(await report(shop, delivery, event))
    assert reported["status"] == status
    path = f"/bills/{delivery['bill_id']}/delivery"
    assert answered(await shop.billing.get(path, headers=shop.maya)) == reported


EVENTS = st.lists(st.sampled_from(["dispatched", "delivered", "failed"]), max_size=8)
FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
RANK = {"requested": 0, "dispatched": 1, "delivered": 2, "failed": 2}


@FEW
@given(events=EVENTS)
async def test_events_in_any_order(shop: Shop, events: list[str]) -> None:
    """Whatever events arrive in whichever order, a status never goes back, and the first final status stays."""
    delivery = answered(await deliver(shop, await shop.bill(), {"address": ADDRESS}), 202)
    for event in events:
        before, delivery = delivery, answered(await report(shop, delivery, event))
        assert RANK[delivery["status"]] >= max(RANK[before["status"]], RANK[event])
        assert before["status"] not in ("delivered", "failed") or delivery == before
    ends = [event for event in events if event != "dispatched"]
    assert delivery["status"] == (ends[0] if ends else "dispatched" if events else "requested")


@pytest.mark.both_databases
@FEW
@given(events=EVENTS)
async def test_events_at_the_same_time(shop: Shop, events: list[str]) -> None:
    """Concurrent events leave a delivery with the furthest status among them, and with one final status only."""
    delivery = answered(await deliver(shop, await shop.bill(), {"address": ADDRESS}), 202)
    answers = await asyncio.gather(*(report(shop, delivery, event) for event in events))
    path = f"/bills/{delivery['bill_id']}/delivery"
    left = answered(await shop.billing.get(path, headers=shop.maya))["status"]
    assert RANK[left] == max((RANK[event] for event in events), default=0)
    assert {answered(answer)["status"] for answer in answers} <= {"dispatched", left}


@pytest.mark.both_databases
async def test_a_late_event_does_not_change_the_time(shop: Shop) -> None:
    """An event that changes nothing does not change `updated_at` either."""
    delivery = answered(await deliver(shop, await shop.bill(), {"address": ADDRESS}), 202)
    delivered = answered(await report(shop, delivery, "delivered"))
    assert delivered["updated_at"] > delivered["created_at"]
    assert answered(await report(shop, delivery, "dispatched")) == delivered


@pytest.mark.parametrize("status", ["requested", "lost", "", None])
async def test_an_invalid_event(shop: Shop, status: Any) -> None:
    """An event must be dispatched, delivered or failed."""
    delivery = answered(await deliver(shop, await shop.bill(), {"address": ADDRESS}), 202)
    refused(await report(shop, delivery, status), 422, "request_invalid")


async def test_an_event_of_an_unknown_delivery(shop: Shop) -> None:
    """An event for a delivery that does not exist is not found."""
    refused(await report(shop, {"id": new_id()}, "dispatched"), 404, "delivery_not_found")


async def test_only_the_delivery_service_reports(shop: Shop) -> None:
    """Customers, administrators and other services may not report events. A user's token is not looked at."""
    delivery = answered(await deliver(shop, await shop.bill(), {"address": ADDRESS}), 202)
    path, body = f"/deliveries/{delivery['id']}/events", {"status": "delivered"}
    for headers in shop.maya, shop.admin:
        refused(await shop.billing.post(path, json=body, headers=headers), 401, "token_missing")
    product = shop.firebase.service_auth("product", to="billing")
    refused(await shop.billing.post(path, json=body, auth=product), 403, "caller_not_allowed")
    refused(await shop.billing.post(path, json=body), 401, "token_missing")
