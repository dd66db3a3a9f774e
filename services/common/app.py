"""The skeleton that every service is built on."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Literal

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from mstoken import TokenVerifier
from mstoken.fastapi import documented_problem, protect
from services.common import problems
from services.common.database import Database
from services.common.middleware import BodyLimit, RequestLog


class Health(BaseModel):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The service can do its work."""

    status: Literal["ready"] = "ready"


def build(
    title: str,
    router: APIRouter,
    *,
    verifier: TokenVerifier,
    database: Database,
    resources: Sequence[AbstractAsyncContextManager[object]] = (),
) -> FastAPI:
    """An app that serves `router` to the callers that `verifier` lets in.

    It opens the database with its migrations, and then `resources`, before it serves, and closes them after.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            await database.open()
            for resource in resources:
                await stack.enter_async_context(resource)
            yield

    app = FastAPI(
        title=title,
        version="1",
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        redoc_url=None,
    )
    protect(app, verifier)
    problems.install(app)
    app.include_router(_probes(verifier, database))
    app.include_router(router)
    # The last one added is the outermost: a refused body is logged too.
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestLog)
    return app


def _probes(verifier: TokenVerifier, database: Database) -> APIRouter:
    router = APIRouter(tags=["probes"])

    @router.get("/healthz")
    async def health() -> Health:
        """Whether the process runs."""
        return Health()

    @router.get("/readyz", responses={503: documented_problem("It cannot, for now.")})
    async def readiness() -> Readiness:
        """Whether the database answers and tokens can be verified."""
        await database.ready()
        await verifier.ready()
        return Readiness()

    return router


def _operation_id(route: APIRoute) -> str:
    return route.name
