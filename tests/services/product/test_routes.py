"""The whole Product service over HTTP"""

from typing import Any

import httpx
import pytest

from mstoken.testing import FakeFirebase
from services.common.ids import new_id
from tests.services.shop import KETTLE, answered, refused


@pytest.fixture
def admin(firebase: FakeFirebase) -> dict[str, str]:
    """The header of an administrator."""
    return firebase.user_headers("ines", role="admin")


@pytest.fixture
def customer(firebase: FakeFirebase) -> dict[str, str]:
    """The header of a customer."""
    return firebase.user_headers("maya")


async def add(product: httpx.AsyncClient, admin: dict[str, str], **changes: Any) -> dict[str, Any]:
    added: dict[str, Any] = answered(await product.post("/products", json=KETTLE | changes, headers=admin), 201)
    return added


@pytest.mark.both_databases
async def test_a_product_is_added_and_read(
    product: httpx.AsyncClient, admin: dict[str, str], customer: dict[str, str]
) -> None:
    """A customer can read a product that an administrator has added."""
    added = await add(product, admin)
    assert added == KETTLE | {"id": added["id"]}
    assert answered(await product.get(f"/products/{added['id']}", headers=customer)) == added


async def test_a_description_may_be_left_out(product: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """A product needs no description."""
    body = {name: value for name, value in KETTLE.items() if name != "description"}
    assert answered(await product.post("/products", json=body, headers=admin), 201)["description"] == ""


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "a\0b"},
        {"description": "a\0b"},
        {"description": "x" * 4001},
        {"price": {"amount": 10**9, "currency": "USD"}},
        {"price": {"amount": -1, "currency": "USD"}},
        {"price": 1999},
        {"stock": -1},
        {"stock": 10**30},
        {"stock": None},
        {"discount": 1},
    ],
)
async def test_an_invalid_product(product: httpx.AsyncClient, admin: dict[str, str], change: dict[str, Any]) -> None:
    """A product that is not valid is refused, and not added."""
    refused(await product.post("/products", json=KETTLE | change, headers=admin), 422, "request_invalid")
    assert answered(await product.get("/products", headers=admin))["items"] == []


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_only_administrators_change_the_catalogue(
    product: httpx.AsyncClient, admin: dict[str, str], firebase: FakeFirebase, method: str
) -> None:
    """Customers, services and callers without a token may not change the catalogue."""
    added = await add(product, admin)
    path = "/products" if method == "POST" else f"/products/{added['id']}"
    maya, billing = firebase.user_headers("maya"), firebase.service_auth("billing", to="product")
    refused(await product.request(method, path, json=KETTLE, headers=maya), 403, "caller_not_allowed")
    refused(await product.request(method, path, json=KETTLE, auth=billing), 403, "caller_not_allowed")
    refused(await product.request(method, path, json=KETTLE), 401, "user_token_missing")
    assert answered(await product.get("/products", headers=admin))["items"] == [added]


async def test_billing_may_read_products(product: httpx.AsyncClient, firebase: FakeFirebase) -> None:
    """Billing may list products with its own token. Other services, and callers without a token, may not."""
    answered(await product.get("/products", auth=firebase.service_auth("billing", to="product")))
    user = firebase.service_auth("user", to="product")
    refused(await product.get("/products", auth=user), 403, "caller_not_allowed")
    refused(await product.get("/products"), 401, "token_missing")


@pytest.mark.both_databases
async def test_a_product_is_changed_in_part(product: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """A change sets the fields that it names. An empty one changes nothing."""
    added = await add(product, admin)
    path = f"/products/{added['id']}"
    price = {"amount": 0, "currency": "EUR"}
    assert answered(await product.patch(path, json={"price": price}, headers=admin)) == added | {"price": price}
    changed = answered(await product.patch(path, json={"name": "Pot", "stock": 0}, headers=admin))
    assert changed == added | {"price": price, "name": "Pot", "stock": 0}
    assert answered(await product.patch(path, json={}, headers=admin)) == changed
    assert answered(await product.get(path, headers=admin)) == changed


@pytest.mark.parametrize("changes", [{"name": None}, {"price": None}, {"id": "x"}, {"stock": "1"}, {"name": "\0"}])
async def test_an_invalid_change(product: httpx.AsyncClient, admin: dict[str, str], changes: dict[str, Any]) -> None:
    """A field cannot be cleared, and unknown fields are refused."""
    added = await add(product, admin)
    refused(
        await product.patch(f"/products/{added['id']}", json=changes, headers=admin),
        422,
        "request_invalid",
    )


@pytest.mark.both_databases
async def test_a_deleted_product_is_gone(product: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """After its deletion a product is not found, by any method."""
    path = f"/products/{(await add(product, admin))['id']}"
    assert (await product.delete(path, headers=admin)).status_code == 204
    refused(await product.get(path, headers=admin), 404, "product_not_found")
    refused(await product.patch(path, json={"stock": 1}, headers=admin), 404, "product_not_found")
    refused(await product.patch(path, json={}, headers=admin), 404, "product_not_found")
    refused(await product.delete(path, headers=admin), 404, "product_not_found")


@pytest.mark.parametrize("product_id", ["x", "%00", "A" * 32, "0" * 33])
@pytest.mark.both_databases
async def test_an_invalid_id(product: httpx.AsyncClient, customer: dict[str, str], product_id: str) -> None:
    """Text that cannot be the id of a product is refused."""
    refused(await product.get(f"/products/{product_id}", headers=customer), 422, "request_invalid")


async def names(product: httpx.AsyncClient, headers: dict[str, str], **params: str) -> list[str]:
    page = answered(await product.get("/products", params=params, headers=headers))
    return [item["name"] for item in page["items"]]


async def test_a_405_lists_the_methods_of_all_routes(product: httpx.AsyncClient) -> None:
    """The answer to a method that a path does not have lists those of all its routes (RFC 9110, section 10.2.1)."""
    response = await product.put(f"/products/{new_id()}")
    refused(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, PATCH, DELETE"


@pytest.mark.both_databases
async def test_products_by_ids(product: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """Products that are requested by their ids are listed once each. Unknown ids are ignored."""
    first, _, third = [await add(product, admin, name=name) for name in ("one", "two", "three")]
    ids = ",".join([first["id"], third["id"], first["id"], new_id(), "unknown"])
    assert sorted(await names(product, admin, ids=ids)) == ["one", "three"]


@pytest.mark.parametrize("ids", ["", ",", "a,,b", "a b", ",".join(["a"] * 101), "x" * 65])
@pytest.mark.both_databases
async def test_invalid_ids(product: httpx.AsyncClient, customer: dict[str, str], ids: str) -> None:
    """A list with an empty id, an id that is too long, or more than 100 ids is refused."""
    refused(await product.get("/products", params={"ids": ids}, headers=customer), 422, "request_invalid")


@pytest.mark.both_databases
async def test_a_search_finds_the_new_name(product: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """A renamed product is found by its new name, and not by the old one."""
    added = await add(product, admin, name="Kettle")
    await product.patch(f"/products/{added['id']}", json={"name": "Pot"}, headers=admin)
    assert await names(product, admin, q="pot") == ["Pot"]
    assert await names(product, admin, q="kettle") == []


@pytest.mark.both_databases
async def test_pages(product: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """Pages follow each other without gap or repetition, although products are added and deleted in the meantime."""
    added = [(await add(product, admin, name=f"n{number}"))["id"] for number in range(5)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = answered(await product.get("/products", params=params, headers=admin))
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        await product.delete(f"/products/{seen[0]}", headers=admin)
    assert seen == sorted(added)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "9" * 30])
async def test_an_invalid_limit(product: httpx.AsyncClient, customer: dict[str, str], limit: str) -> None:
    """A page has 1 to 100 items."""
    refused(await product.get("/products", params={"limit": limit}, headers=customer), 422, "request_invalid")


@pytest.mark.parametrize("cursor", ["", "abc", "A" * 21 + "B", "A" * 23, "é" * 22, "A" * 20 + "==", "\0" * 22])
@pytest.mark.both_databases
async def test_an_invalid_cursor(product: httpx.AsyncClient, customer: dict[str, str], cursor: str) -> None:
    """A cursor that no page can have returned is refused."""
    refused(await product.get("/products", params={"cursor": cursor}, headers=customer), 422, "request_invalid")


async def test_the_openapi_document(product: httpx.AsyncClient) -> None:
    """The OpenAPI document has both kinds of token, and says for each route who may call and which errors it has."""
    document = answered(await product.get("/openapi.json"))
    assert set(document["components"]["securitySchemes"]) == {"ServiceToken", "UserToken"}
    operations = document["paths"]["/products"]
    assert operations["get"]["security"] == [{"UserToken": []}, {"ServiceToken": []}]
    assert operations["post"]["security"] == [{"UserToken": []}]
    assert set(operations["post"]["responses"]) == {
        "201",
        "400",
        "401",
        "403",
        "408",
        "413",
        "422",
        "500",
        "503",
        "504",
    }
    assert set(operations["post"]["responses"]["422"]["content"]) == {"application/problem+json"}
    assert "HTTPValidationError" not in document["components"]["schemas"]
