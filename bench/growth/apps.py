"""The services as they are, but with a directory of identities that needs no network. uvicorn starts each by name."""

from fastapi import FastAPI

from bench.issuer import BenchFirebase
from mstoken import Settings, TokenVerifier
from services.billing.app import create_app as create_billing
from services.common.app import own_process
from services.product.app import create_app as create_product
from services.user.app import create_app as create_user


@own_process("user")
def user() -> FastAPI:
    """Return User."""
    return create_user(verifier=_verifier("user"))


@own_process("product")
def product() -> FastAPI:
    """Return Product."""
    return create_product(verifier=_verifier("product"))


@own_process("billing")
def billing() -> FastAPI:
    """Return Billing."""
    return create_billing(verifier=_verifier("billing"))


def _verifier(audience: str) -> TokenVerifier:
    settings = Settings()
    return TokenVerifier(audience, settings, firebase=BenchFirebase(settings))
