"""Product has the prices. Billing reads them, and anyone may ask how many of a product were sold."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse

from .settings import settings


class UnknownProduct(Exception):
    """There is no such product."""


def check_key(x_api_key: Annotated[str, Header()] = "") -> None:
    if x_api_key != settings.api_key:
        raise HTTPException(401, "wrong key")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.prices = {"kettle": 1999, "teapot": 2499}
    async with httpx.AsyncClient(base_url=settings.billing_url, headers={"X-API-Key": settings.api_key}) as billing:
        app.state.billing = billing
        yield


app = FastAPI(lifespan=lifespan)
router = APIRouter(prefix="/products", dependencies=[Depends(check_key)])


@app.exception_handler(UnknownProduct)
def on_unknown_product(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": f"There is no {error}."}, 404)


@router.get("/{name}/price")
def price(name: str, request: Request) -> int:
    prices: dict[str, int] = request.app.state.prices
    if name not in prices:
        raise UnknownProduct(name)
    return prices[name]


app.include_router(router)


@app.get("/sold/{name}")
async def sold(name: str, request: Request) -> int:
    answer = await request.app.state.billing.get("/bills/count", params={"product": name})
    return int(answer.raise_for_status().json())
