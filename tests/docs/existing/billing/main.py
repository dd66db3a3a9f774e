"""Billing makes bills for customers, with the prices of Product, which asks it what was sold."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from .settings import settings


class NoPrice(Exception):
    """Product has no price."""


class Order(BaseModel):
    product: str


class Bill(BaseModel):
    customer: str
    product: str
    amount: int
    currency: str


def check_key(x_api_key: Annotated[str, Header()] = "") -> None:
    if x_api_key != settings.api_key:
        raise HTTPException(401, "wrong key")


def current_customer(x_customer: Annotated[str, Header()]) -> str:
    return x_customer


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.bills = []
    with httpx.Client(base_url=settings.product_url, headers={"X-API-Key": settings.api_key}) as product:
        app.state.product = product
        yield


app = FastAPI(lifespan=lifespan)
router = APIRouter(prefix="/bills")


@app.exception_handler(NoPrice)
def on_no_price(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 409)


@app.exception_handler(httpx.HTTPError)
def on_no_answer(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"error": "Product does not answer."}, 502)


@router.post("", status_code=201)
def make_bill(order: Order, request: Request, customer: Annotated[str, Depends(current_customer)]) -> Bill:
    answer = request.app.state.product.get(f"/products/{order.product}/price")
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise NoPrice(answer.json()["error"])
    answer.raise_for_status()
    bill = Bill(customer=customer, product=order.product, amount=answer.json(), currency=settings.currency)
    request.app.state.bills.append(bill)
    return bill


@router.get("/count", dependencies=[Depends(check_key)])
def count(product: str, request: Request) -> int:
    return sum(bill.product == product for bill in request.app.state.bills)


app.include_router(router)
