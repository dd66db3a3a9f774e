"""A Firebase project in memory takes the place of the Firebase of an app under test."""

from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.testclient import TestClient
from flask import Flask
from starlette.applications import Starlette

from mstoken import ServiceIdentity, TokenVerifier
from mstoken.errors import SettingsError
from mstoken.fastapi import allow, protect
from mstoken.guard import Guard, guards_of
from mstoken.testing import FirebaseProject
from mstoken.testing.project import BASE_URL
from tests.mstoken.test_settings import environment
from tests.mstoken.testing.conftest import AsService
from tests.mstoken.testing.product_app import app


def test_an_app_without_a_verifier(firebase: FirebaseProject) -> None:
    """The error says which call is missing."""
    for unprotected in (FastAPI(), Flask(__name__), Starlette(), lambda request: None):
        with pytest.raises(ValueError, match=r"no verifier.*protect\(app, TokenVerifier.*pass the Callee"):
            firebase.protect(unprotected)


def test_which_service_is_called(firebase: FirebaseProject, as_service: AsService) -> None:
    """It is the only one under test, or the one that the test names."""
    with pytest.raises(ValueError, match="No app is under test"):
        as_service("billing")
    other = FastAPI()
    protect(other, TokenVerifier("user"))
    firebase.protect(other)
    firebase.protect(app)
    with pytest.raises(ValueError, match=r"\(product, user\).*to='product'"):
        as_service("billing")
    client = TestClient(app)
    assert client.get("/products", auth=as_service("billing", to="product")).is_success
    assert client.get("/products", auth=as_service("billing", to="user")).json()["code"] == "token_wrong_audience"


def test_mounted_apps_are_protected_too(firebase: FirebaseProject, as_service: AsService) -> None:
    """An app that is mounted in the app under test has a verifier of this project, also behind middleware."""
    outer, inner = FastAPI(), FastAPI()
    protect(outer, TokenVerifier("shop"))
    protect(inner, TokenVerifier("product"))
    inner.get("/", dependencies=[Depends(allow(services={"billing"}))])(lambda: None)
    outer.mount("/products", inner)
    assert len(list(guards_of(outer))) == 2
    client = TestClient(firebase.protect(outer))
    assert client.get("/products/", auth=as_service("billing", to="product")).is_success
    assert client.get("/products/", auth=as_service("billing", to="shop")).json()["code"] == "token_wrong_audience"


def test_apps_that_a_router_mounts_are_protected_too(firebase: FirebaseProject, as_service: AsService) -> None:
    """An app of an included router, however deep, would otherwise ask the Firebase of the environment."""
    outer, inner, middle, router = FastAPI(), FastAPI(), APIRouter(), APIRouter()
    protect(outer, TokenVerifier("shop"))
    protect(inner, TokenVerifier("product"))
    inner.get("/", dependencies=[Depends(allow(services={"billing"}))])(lambda: None)
    router.mount("/products", inner)
    middle.include_router(router)
    outer.include_router(middle, prefix="/v1")
    client = TestClient(firebase.protect(outer))
    assert client.get("/v1/products/", auth=as_service("billing", to="product")).is_success


def test_the_app_gets_its_verifier_back() -> None:
    """After the test the app has the verifier that it had before."""
    guard: Guard = next(guards_of(app))
    before = guard.verifier
    project = FirebaseProject()
    project.protect(app)
    project.protect(app)
    assert guard.verifier is not before
    project.release()
    assert guard.verifier is before


def test_settings_of_the_verifier(firebase: FirebaseProject, as_service: AsService) -> None:
    """The app under test can be made to require proofs."""
    client = TestClient(firebase.protect(app, require_proof=True))
    assert client.get("/products", auth=as_service("billing")).json()["code"] == "proof_missing"
    assert client.get("/products", auth=as_service("billing", mode="proof")).is_success


billing = ServiceIdentity("billing")
product = httpx.Client(base_url=BASE_URL, auth=billing.to("product"))
"""A caller under test: a module as the quickstart shows it, imported without an environment."""


def test_a_caller_under_test(firebase: FirebaseProject) -> None:
    """It gets tokens of the project without a network, and the callee under test accepts them."""
    client = TestClient(firebase.protect(app))
    firebase.sign_in(billing)

    def pass_on(request: httpx.Request) -> httpx.Response:
        answer = client.request(request.method, request.url.path, headers=dict(request.headers))
        return httpx.Response(answer.status_code, content=answer.content)

    with httpx.Client(base_url=BASE_URL, auth=billing.to("product"), transport=httpx.MockTransport(pass_on)) as caller:
        assert caller.get("/products").json() == "svc:billing fresh"
        firebase.sign_in(billing, mode="proof")
        assert caller.get("/products").json() == "svc:billing proof"


def test_an_identity_gets_its_parts_back() -> None:
    """After the test the identity signs in as before: without an environment it cannot."""
    project = FirebaseProject()
    project.sign_in(billing)
    assert billing.token_sync("product")
    project.release()
    with environment(), pytest.raises(SettingsError):
        billing.token_sync("product")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"service": "Billing X", "to": "product"}, "'Billing X' is not a service name"),
        ({"service": "billing", "to": "Product"}, "'Product' is not a service name"),
        ({"service": "billing", "to": "product", "mode": "prof"}, "'prof' is not a mode: expected fresh or proof"),
    ],
    ids=["service", "audience", "mode"],
)
def test_credentials_of_no_service(as_service: AsService, arguments: dict[str, Any], text: str) -> None:
    """A typing error in a test is an error, not a call that is refused for a reason that the test did not mean."""
    with pytest.raises(ValueError, match=text):
        as_service(**arguments)


def test_only_an_identity_signs_in(firebase: FirebaseProject) -> None:
    """The name of a service is not enough: it is the object of the program under test that signs in."""
    name: Any = "billing"
    with pytest.raises(TypeError, match="ServiceIdentity of the program under test, not 'billing'"):
        firebase.sign_in(name)
