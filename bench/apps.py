"""The apps that the benchmark compares: the real services with other verifiers. uvicorn starts each by its name.

Only the benchmark can replace a verifier: no setting of a service turns authentication off.
"""

import hmac
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.telemetry import TelemetryConfig
from firebase_admin import auth, delete_app
from typing_extensions import override

from bench.issuer import BenchFirebase, admin_app
from mstoken import ServiceIdentity, Settings, TokenVerifier, telemetry
from mstoken.callee.callers import Admission, Call, Caller, ServiceCaller
from mstoken.errors import TokenUntrusted
from mstoken.wire import Mode
from services.billing import app as billing_app
from services.billing.neighbours import Neighbours
from services.billing.settings import BillingSettings
from services.common import telemetry as shop_telemetry
from services.common.app import own_process
from services.product.app import create_app
from services.product.settings import ProductSettings
from services.user import app as user_app

SECRET_VARIABLE = "BENCH_SHARED_SECRET"
"""The key of Fernet, which is also the secret that is encrypted. It is made for one run."""
FERNET_SECONDS = 60
"""How old an encrypted secret may be."""

_BILLING = ServiceCaller("billing", "svc:billing", "product", "fresh", "-", 0)


def bare() -> FastAPI:
    """Return an app whose route returns a constant, and nothing else."""
    app = FastAPI()

    @app.get("/products")
    async def products() -> dict[str, Any]:
        return {"items": [], "next_cursor": None}

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    return app


@own_process("product")
def protected() -> FastAPI:
    """Return Product as it is, but with an issuer and a directory of identities that need no network."""
    return _product(TokenVerifier)


@own_process("product")
def off() -> FastAPI:
    """Return Product without authentication: its verifier admits every call as Billing's, and looks at nothing."""
    return _product(AdmitsAll)


@own_process("product")
def admin_in_threads() -> FastAPI:
    """Return Product with what people write today: firebase-admin as it comes, in a thread pool."""
    certificates = Path(os.environ["MSTOKEN_CERTIFICATES_FILE"]).read_bytes()
    return _product(lambda *args, **kwargs: AdminInThreads(certificates, *args, **kwargs))


@own_process("product")
def shared_secret() -> FastAPI:
    """Return Product with a shared secret that is encrypted for each call (Fernet). If it leaks, anyone can call."""
    return _product(lambda *args, **kwargs: SharedSecret(os.environ[SECRET_VARIABLE], *args, **kwargs))


def without_telemetry() -> FastAPI:
    """Return `protected` as it would be without our calls of OpenTelemetry, and without FastAPI's."""
    replacements = (
        (telemetry, "measure", lambda _operation, _attributes: nullcontext()),
        (telemetry, "count", lambda _counter, _attributes: None),
        (telemetry, "observe", lambda _gauge, _owner, _read: None),
        (shop_telemetry, "trace_ids", dict),
        (shop_telemetry, "of_requests", lambda: TelemetryConfig(tracing=False, metrics=False, logs=False)),
    )
    for module, name, replacement in replacements:
        getattr(module, name)  # Fails if the name is gone: then this app would have its telemetry.
        setattr(module, name, replacement)
    return protected()


class AdmitsAll(TokenVerifier):
    """Admits every call as Billing's. It exists only in the benchmark."""

    @override
    async def authorize(self, admission: Admission, call: Call) -> Caller:
        return _BILLING

    @override
    async def admit(self, admission: Admission, caller: Caller, call: Call) -> Caller:
        return caller


class AdminInThreads(AdmitsAll):
    """Verifies a token with firebase-admin, unchanged, in Starlette's thread pool. Its certificates come from memory.

    It checks neither audience nor replay.
    """

    def __init__(self, certificates: bytes, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._admin = admin_app(certificates, "in threads")

    @override
    async def authorize(self, admission: Admission, call: Call) -> Caller:
        await run_in_threadpool(auth.verify_id_token, call.service_tokens[0], self._admin)
        return _BILLING

    @override
    async def aclose(self) -> None:
        await super().aclose()
        delete_app(self._admin)


class SharedSecret(AdmitsAll):
    """Decrypts what the caller sent, and compares it with the secret that all services have."""

    def __init__(self, secret: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._secret = secret.encode()
        self._fernet = Fernet(secret)

    @override
    async def authorize(self, admission: Admission, call: Call) -> Caller:
        if not hmac.compare_digest(self._fernet.decrypt(call.service_tokens[0], ttl=FERNET_SECONDS), self._secret):
            raise TokenUntrusted("It is not the shared secret.")
        return _BILLING


def _product(verifier: Callable[..., TokenVerifier]) -> FastAPI:
    settings = Settings()
    return create_app(ProductSettings(), verifier=verifier("product", settings, firebase=BenchFirebase(settings)))


# The shop without authentication between its services. Users log in, and their tokens are verified, as in the real one.


@own_process("product")
def open_product() -> FastAPI:
    """Return Product, which takes every call with something in `X-MS-TOKEN` for Billing's."""
    return create_app(verifier=AdmitsServices("product"))


@own_process("user")
def open_user() -> FastAPI:
    """Return User, which takes every call with something in `X-MS-TOKEN` for Billing's."""
    return user_app.create_app(verifier=AdmitsServices("user"))


@own_process("billing")
def open_billing() -> FastAPI:
    """Return Billing, which signs in nowhere and signs no proofs."""
    settings = BillingSettings()
    return billing_app.create_app(settings, neighbours=Neighbours(settings, NoIdentity("billing").prepare()))


class AdmitsServices(AdmitsAll):
    """Admits every call that says that it is from a service, and verifies users."""

    @override
    async def authorize(self, admission: Admission, call: Call) -> Caller:
        return _BILLING if call.service_tokens else await TokenVerifier.authorize(self, admission, call)

    @override
    async def admit(self, admission: Admission, caller: Caller, call: Call) -> Caller:
        return caller if isinstance(caller, ServiceCaller) else await TokenVerifier.admit(self, admission, caller, call)


class NoIdentity(ServiceIdentity):
    """Has one and the same text in place of each token, and so needs no sign-in."""

    def __init__(self, service: str, settings: Settings | None = None) -> None:
        super().__init__(service, (settings or Settings()).model_copy(update={"mode": "fresh"}))

    @override
    async def token(self, audience: str, mode: Mode = "fresh", *, new: bool = False) -> str:
        return "none"
