"""services/*/app.py: the apps as their processes make them, from the environment"""

import asyncio
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette._utils import is_async_callable

from mstoken import Settings
from tests.services.shop import answered, logging_as_before, serving

ROOT = Path(__file__).parents[2]
SERVICES = ("user", "product", "billing")


def factory(service: str) -> Callable[[], FastAPI]:
    create_app: Callable[[], FastAPI] = importlib.import_module(f"services.{service}.app").create_app
    return create_app


@pytest.fixture
def environment(auth_emulator: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment of a service's process."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", auth_emulator.project_id)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'service.db'}")
    monkeypatch.setenv("MSTOKEN_REPLAY_URL", f"sqlite:///{tmp_path / 'spent.db'}")


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Restores logging, which a process configures."""
    with logging_as_before():
        yield


@pytest.mark.usefixtures("environment", "_logging_as_before")
@pytest.mark.parametrize("service", SERVICES)
async def test_a_process_starts_and_is_ready(service: str) -> None:
    """Each service starts from its environment alone, and is ready as soon as its new store of spent ids is."""
    async with serving(factory(service)()) as client, asyncio.timeout(60):
        while (response := await client.get("/readyz")).status_code == httpx.codes.SERVICE_UNAVAILABLE:  # noqa: ASYNC110 - a probe
            await asyncio.sleep(0.1)
        assert answered(response) == {"status": "ready", "warnings": []}


@pytest.mark.process
@pytest.mark.parametrize("service", SERVICES)
def test_a_process_that_starts_imports_only_what_it_needs(service: str) -> None:
    """What only some processes need, or only some requests, is imported then. So a process is ready sooner."""
    script = f"import sys, services.{service}.app; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(run.stdout.split())
    assert {"fastapi", "sqlalchemy", "mstoken"} <= imported
    # For migrations; for passwords that are set; for the other database; for other stores of spent ids; for telemetry
    # that is exported; for the command line and for tests.
    unneeded = {"alembic", "mako", "zxcvbn", "asyncpg", "redis", "grpc", "prometheus_client", "typer", "pytest", "trio"}
    assert not imported & unneeded


@pytest.mark.usefixtures("environment", "_logging_as_before")
@pytest.mark.parametrize("service", SERVICES)
def test_a_process_does_not_start_with_wrong_settings(
    service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an invalid setting a service logs the setting, and exits so that uvicorn does not start it again."""
    monkeypatch.setenv("DATABASE_URL", "nowhere")
    with pytest.raises(SystemExit) as caught:
        factory(service)()
    assert caught.value.code == 3
    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["service"]) == ("critical", service)
    assert "DATABASE_URL" in line["event"]


def dependencies_of(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """Yield what FastAPI calls for a route: its endpoint, and all its dependencies."""
    assert dependant.call is not None
    yield dependant.call
    for inner in dependant.dependencies:
        yield from dependencies_of(inner)


@pytest.mark.usefixtures("environment", "_logging_as_before")
@pytest.mark.parametrize("service", SERVICES)
def test_no_request_needs_a_thread(service: str) -> None:
    """All endpoints, dependencies and error handlers are coroutines. FastAPI runs others in a thread each time."""
    app = factory(service)()
    dependants = (getattr(route, "dependant", None) for route in iter_route_contexts(app.routes))
    found = [call for dependant in dependants if dependant for call in dependencies_of(dependant)]
    assert len(found) > len(app.routes)
    for call in [*found, *app.exception_handlers.values()]:
        assert is_async_callable(call), f"{call} would run in a thread"


@pytest.mark.usefixtures("environment", "_logging_as_before")
@pytest.mark.parametrize("service", SERVICES)
def test_a_request_finds_its_route_soon(service: str) -> None:
    """The routes of a service are those of its app, without routers between, and come before the documentation."""
    is_own = [isinstance(route, APIRoute) and route.include_in_schema for route in factory(service)().routes]
    assert is_own == sorted(is_own, reverse=True)
    assert sum(is_own) > 5
    assert not all(is_own)


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(service: str) -> None:
    """A service imports the library and what all services share, and no other service."""
    others = [f"services.{other}" for other in SERVICES if other != service]
    folder = ROOT / "services" / service
    modules = [*folder.rglob("*.py")]
    assert modules
    assert not [module for module in modules if any(other in module.read_text() for other in others)]


DOMAIN = {
    "billing": ("bills", "deliveries", "orders"),
    "product": ("catalogue", "reservations"),
    "user": ("accounts", "attempts", "networks", "profiles"),
}


@pytest.mark.process
@pytest.mark.parametrize("service", SERVICES)
def test_the_domain_does_not_import_sqlalchemy(service: str) -> None:
    """The modules with a service's rules can be imported without SQLAlchemy: only its stores know the database."""
    modules = ", ".join(f"services.{service}.{module}" for module in DOMAIN[service])
    check = f"import sys, {modules}; sys.exit('sqlalchemy' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)


@pytest.mark.usefixtures("_logging_as_before")
def test_a_process_does_not_start_with_a_file_of_its_own_on_cloud_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In production, two instances with the default store would accept the same token once each."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "real-shop")
    monkeypatch.setenv("K_SERVICE", "product")
    credentials = {"type": "authorized_user", "client_id": "x", "client_secret": "x", "refresh_token": "x"}
    (tmp_path / "credentials.json").write_text(json.dumps(credentials))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))
    monkeypatch.delenv("MSTOKEN_REPLAY_URL", raising=False)
    with pytest.raises(SystemExit) as caught:
        factory("product")()
    assert caught.value.code == 3
    line = json.loads(capsys.readouterr().out)
    assert line["event"].startswith("MSTOKEN_REPLAY_URL is 'sqlite:///.mstoken/spent-ids.db' on Cloud Run")
    assert "MSTOKEN_SINGLE_INSTANCE=true" in line["event"]
