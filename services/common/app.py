"""The skeleton that all services are built on."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import wraps
from typing import Literal, ParamSpec

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field

from mstoken import TokenVerifier
from mstoken.errors import SettingsError, VerifierUnavailable
from mstoken.fastapi import documented_problem, protect
from mstoken.log_events import log_event
from services.common import backlog, logs, problems, telemetry
from services.common.background import Repeated
from services.common.bodies import BodyReader
from services.common.database import Database
from services.common.deadlines import DeadlineLimit
from services.common.load import Entrance, Load, LoadLimit
from services.common.measures import BACKLOG, BACKLOG_AGE, BACKLOG_NAME
from services.common.middleware import RequestLog, RootPath
from services.common.origins import allow_origins
from services.common.settings import ServiceSettings

MEASURE_SECONDS = 15.0
"""Seconds between two measurements of the backlogs, in a process that has metrics."""

STARTUP_FAILURE = 3
"""Exit status that tells uvicorn and gunicorn not to start the worker again."""

_log = logging.getLogger("services")

P = ParamSpec("P")


def own_process(service: str) -> Callable[[Callable[P, FastAPI]], Callable[P, FastAPI]]:
    """Decorate an app's factory: called without arguments, it configures the log and the telemetry of its process.

    If a setting is wrong the process then ends with one log line about it.
    """

    def decorate(factory: Callable[P, FastAPI]) -> Callable[P, FastAPI]:
        @wraps(factory)
        def create(*args: P.args, **kwargs: P.kwargs) -> FastAPI:
            if args or kwargs:
                return factory(*args, **kwargs)
            logs.configure(service)
            try:
                telemetry.configure(service)
                return factory()  # type: ignore[call-arg] # every argument of a factory has a default
            except SettingsError as error:
                _log.critical(str(error))
                raise SystemExit(STARTUP_FAILURE) from None

        return create

    return decorate


class Health(BaseModel):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The service can work."""

    status: Literal["ready"] = "ready"
    warnings: list[str] = Field(
        default=[],
        description="The parts that have a problem, which does not stop the service. The log has the problem.",
    )


def build(
    title: str,
    description: str,
    add_routes: Callable[[APIRouter], None],
    *,
    settings: ServiceSettings,
    verifier: TokenVerifier,
    database: Database,
    resources: Sequence[AbstractAsyncContextManager[object]] = (),
    backlogs: Sequence[backlog.Measure] = (),
) -> FastAPI:
    """Return an app with the routes that `add_routes` adds, for the callers that `verifier` admits.

    Before it serves, the app migrates and opens the database, and then opens `resources`. It closes them at its end.
    `/readyz` warns if one of `backlogs` is late.
    Raises `SettingsError` if the settings of the verifier are wrong.
    """
    verifier.prepare()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(telemetry.flush)
            stack.push_async_callback(database.close)
            await database.open()
            for resource in resources:
                await stack.enter_async_context(resource)
            if telemetry.is_measured():
                job = Repeated("measure backlogs", lambda: _measure_backlogs(app), every_seconds=MEASURE_SECONDS)
                await stack.enter_async_context(job)
            yield

    # The page /docs and its scripts come from this app. FastAPI's own page loads scripts from a CDN, and they can read
    # what a user types. The validator is a server of Swagger that would be sent the address of the API.
    app = FastAPIOffline(
        redoc_url=None,
        swagger_ui_parameters={"validatorUrl": None},
        title=title,
        description=description,
        version="1",
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        telemetry=telemetry.of_requests(),
    )
    protect(app, verifier)
    problems.install(app)
    backlog.install(app, backlogs)
    # FastAPI goes through the routes in their order, more than once for each request. So the documentation comes last,
    # and there is no `include_router`, which would make it go through the routes of the router three times.
    documentation = app.router.routes.copy()
    app.router.routes.clear()
    _add_probes(app, verifier, database)
    add_routes(app.router)
    app.router.routes.extend(documentation)
    # The last one is the outermost. So refused requests are logged, except those that find the process full. The time
    # that a request waits counts, and a request has its body before it takes a place of the load limit.
    load = Load()
    app.add_middleware(RootPath, root_path=settings.root_path)
    app.add_middleware(LoadLimit, load=load)
    app.add_middleware(BodyReader)
    app.add_middleware(DeadlineLimit)
    app.add_middleware(RequestLog)
    app.add_middleware(Entrance, load=load)
    allow_origins(app, settings.allowed_origins)
    return app


async def _measure_backlogs(app: FastAPI) -> None:
    for found in await backlog.backlogs_of(app):
        BACKLOG.set(found.count, {BACKLOG_NAME: found.name})
        BACKLOG_AGE.set(found.oldest_seconds, {BACKLOG_NAME: found.name})


def _add_probes(app: FastAPI, verifier: TokenVerifier, database: Database) -> None:
    @app.get("/healthz", tags=["probes"])
    async def health() -> Health:
        """Check that the process runs."""
        return Health()

    @app.get(
        "/readyz",
        tags=["probes"],
        responses={503: documented_problem("The service cannot work now; `code` says what fails.")},
    )
    async def readiness() -> Readiness:
        """Check that the database answers and that tokens can be verified. Warn of work that waits for too long."""
        # Anyone may ask. The answer has the kind of problem only, because the details may name servers.
        await database.ready()
        try:
            warnings = await verifier.ready()
        except VerifierUnavailable as outage:
            log_event(_log, logging.ERROR, "not_ready", f"not ready: {outage.reason}", reason=outage.reason)
            raise
        late = [str(work) for work in await backlog.backlogs_of(app) if work.is_late]
        if warnings := [*warnings, *late]:
            message = f"ready, with warnings: {'; '.join(warnings)}"
            log_event(_log, logging.WARNING, "ready_with_warnings", message, warnings=warnings)
        return Readiness(warnings=[warning.partition(":")[0] for warning in warnings])


def _operation_id(route: APIRoute) -> str:
    return route.name
