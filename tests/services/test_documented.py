"""tests/services/documented.py: what is a difference between an answer and its document"""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tests.services.documented import DocumentedTransport
from tests.services.shop import KETTLE

PRODUCT = {"id": "p", **KETTLE}


async def answer(response: Response) -> httpx.Response:
    """Get a product from an app with the name of Product, which sends this response."""
    app = FastAPI(title="Product")

    @app.get("/{path:path}")
    async def anything(path: str) -> Response:
        return response

    async with httpx.AsyncClient(transport=DocumentedTransport(app), base_url="http://product") as client:
        await client.get("/not/documented")
        return await client.get("/products/p")


async def test_an_answer_as_documented() -> None:
    """The answer arrives as it is."""
    assert (await answer(JSONResponse(PRODUCT))).json() == PRODUCT


@pytest.mark.parametrize(
    "response",
    [
        JSONResponse(PRODUCT | {"supplier": "x"}),
        JSONResponse(PRODUCT | {"price": {"amount": 1, "currency": "USD", "cost": 1}}),
        JSONResponse(PRODUCT | {"stock": "10"}),
        JSONResponse({name: value for name, value in PRODUCT.items() if name != "price"}),
        JSONResponse(PRODUCT, 202),
        PlainTextResponse("a kettle"),
        JSONResponse({"title": "none"}, 404, media_type="application/problem+json"),
    ],
    ids=["another member", "another member inside", "type", "no price", "status", "media type", "problem"],
)
async def test_an_answer_that_is_not_documented(response: Response) -> None:
    """A member that leaks, a wrong type, and a status or media type that the document does not have are errors."""
    with pytest.raises(AssertionError):
        await answer(response)


@pytest.mark.parametrize("title", ["Product", "Another"])
async def test_what_no_document_has_is_not_compared(title: str) -> None:
    """Other paths, and the apps of other tests."""
    app = FastAPI(title=title)

    @app.get("/other")
    async def other() -> Any:
        return {"any": "thing"}

    async with httpx.AsyncClient(transport=DocumentedTransport(app), base_url="http://product") as client:
        assert (await client.get("/other")).json() == {"any": "thing"}
