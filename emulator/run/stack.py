"""The stack: the emulators and the three services, with the ports, folders and variables of each."""

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx

from emulator.run.errors import RunnerError
from emulator.run.ports import HOST, Ports
from emulator.run.processes import Supervisor
from emulator.run.storefront import copy_storefront, local_hosting
from mstoken import Settings
from mstoken.callee.replay.sqlite_file import SpentIdFile
from mstoken.emulator.addresses import FUNCTIONS_VARIABLE, METADATA_VARIABLES
from mstoken.emulator.signed_auth import CERTIFICATES_PATH
from mstoken.private_files import make_private_file
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from mstoken.wire import Mode

ROOT = Path(__file__).resolve().parents[2]
SEED = Path(__file__).with_name("seed")
PROJECT = "demo-shop"
LAZY_VALIDATORS = Path(__file__).with_name("lazy_validators.cjs")
PORT_OFFSET = Path(__file__).with_name("port_offset.cjs")
"""Makes the Auth emulator start in two seconds instead of eight."""
STOREFRONT = "storefront"
"""The folder in the data folder that the hosting emulator serves."""
SERVICES = ("user", "product", "billing")
IDENTITIES = (*SERVICES, "delivery")
"""The services that have an identity. "delivery" is the function `deliver`."""
EMULATORS = ("auth", "functions", "hosting", "tasks", "eventarc", "hub", "logging")
EMULATORS_READY = "All emulators ready!"
HTTP_PROTOCOL = "services.common.server:TimedProtocol"
"""uvicorn's protocol of its parser h11, with time limits for slow clients. The other parser, httptools, takes trailers
for headers, and has no limit for a header."""
STOP_SECONDS = 6
"""How long uvicorn waits for the requests under way when it stops. With what follows, a service ends within 10 s, which
is what Cloud Run allows."""
PATIENCE_SECONDS = 20.0
"""After how many seconds Billing puts a delivery that has no end yet into the queue again.

It is short because the tasks emulator keeps tasks only in memory.
"""
FUNCTIONS_AT_ONCE = 8
"""How many requests the functions emulator handles at the same time, with a process for each.

It must be more than `deliver` uses at the same time, because each `deliver` waits for a request to `token`.
"""
LOGS = (*SERVICES, "emulators", "local_emulators")
"""The names of the log files, for `Stack.log`. Functions write into that of the emulators."""
REDIS = "redis"
"""The name of the process of Redis, and of its log."""
REDIS_DATA = "redis-data"
"""The folder in which Redis keeps its data."""
START_SECONDS = 90.0
"""How long a process may take to become ready, in seconds."""
ANSWER_SECONDS = 10.0
"""How long the answer to a question about readiness may take, in seconds."""

SHOP_VARIABLES = (
    *("DATABASE_URL", "PRODUCT_URL", "USER_URL", "BILLING_URL", "DELIVERY_", "MSTOKEN_", "TRUSTED_PROXIES"),
    *("ALLOWED_ORIGINS", "ROOT_PATH"),
    *("GOOGLE_", "GCLOUD_", "GCE_METADATA_", "FIREBASE_", "CLOUD_TASKS_", FUNCTIONS_VARIABLE),
)
"""The beginnings of variables that decide which servers a process uses. They are not taken from the user's shell."""


@dataclass(frozen=True)
class Stack:
    """One shop: its ports, its data folder, its project and its emulators.

    `emulator_host` is the host:port of the signed Auth emulator of another stack, and `emulator_ports` are the ports of
    its functions and metadata emulators. Without them, this stack uses emulators on its own ports. `workers` is the
    number of processes for each service. `mode` is how services call each other. With `wiretap`, Billing reaches
    Product through the lab's wiretap, which must run then. With `redis`, spent ids are in a Redis of the stack's own.
    """

    ports: Ports
    data: Path
    project: str = PROJECT
    emulator_host: str | None = None
    emulator_ports: Ports | None = None
    workers: int = 1
    mode: Mode = "fresh"
    wiretap: bool = False
    redis: bool = False

    @property
    def settings(self) -> Settings:
        """Settings to sign in from this process as a service of this shop."""
        return Settings(project_id=self.project, emulator_host=self.auth_host, mode=self.mode)

    @property
    def auth_host(self) -> str:
        """The host:port of the signed Auth emulator."""
        return self.emulator_host or f"{HOST}:{self.ports.signed_auth}"

    @property
    def _emulators(self) -> Ports:
        """The ports of the functions and metadata emulators in use."""
        return self.emulator_ports or self.ports

    def url(self, name: str) -> str:
        """Return the URL of a service or an emulator, such as "http://127.0.0.1:8002"."""
        return f"http://{HOST}:{getattr(self.ports, name)}"

    def base_url(self, service: str) -> str:
        """Return the URL under which other services call a service: the one that proofs are made for."""
        return self.url("wiretap" if self.wiretap and service == "product" else service)

    @property
    def functions_url(self) -> str:
        """The common beginning of the URLs of all functions in the functions emulator."""
        return f"http://{HOST}:{self._emulators.functions}/{self.project}/us-central1"

    def function_url(self, name: str) -> str:
        """Return the URL of a function in the functions emulator."""
        return f"{self.functions_url}/{name}"

    def beside(self, ports: Ports, data: Path, **changes: Any) -> Self:
        """Return a stack of other services that use the emulators of this stack."""
        beside = replace(self, ports=ports, data=data, emulator_host=self.auth_host, emulator_ports=self._emulators)
        return replace(beside, **changes)

    def identity_environment(self, name: str) -> dict[str, str]:
        """Return the variables that give a process the identity of the service `name`.

        google-auth finds the metadata server of the service with them, and the token service accepts its identity
        tokens. On Cloud Run the metadata server needs no variable.
        """
        host = f"{HOST}:{getattr(self._emulators, f'metadata_{name}')}"
        return dict.fromkeys(METADATA_VARIABLES, host) | {"MSTOKEN_TOKEN_SERVICE_URL": self.function_url("token")}

    def log(self, name: str) -> Path:
        """Return the log file of a service, or of the "emulators"."""
        return self.data / "logs" / f"{name}.log"

    def delete_old_data(self) -> None:
        """Delete the databases and logs of an earlier run.

        The Auth emulator keeps users only in memory. So bills of an earlier run would belong to users that are gone.
        """
        for owner in (*SERVICES, "functions"):
            for database in self.data.glob(f"{owner}*.db*"):
                database.unlink()
        for folder in "logs", REDIS_DATA:
            shutil.rmtree(self.data / folder, ignore_errors=True)

    def start_emulators(self, supervisor: Supervisor) -> None:
        """Start the Firebase emulators with the demo users, and wait until they are ready.

        Raises RunnerError and Interrupted.
        """
        firebase = ROOT / "node_modules" / ".bin" / "firebase"
        if not firebase.exists():
            raise RunnerError("firebase-tools is not installed in node_modules. Run make setup.")
        copy_storefront(
            ROOT / "web" / "dist",
            self.data / STOREFRONT,
            project=self.project,
            apis={service: self.url(service) for service in SERVICES},
            auth_emulator=f"http://{self.auth_host}",
        )
        config = self.data / "firebase.json"
        make_private_file(config)
        config.write_text(json.dumps(self._firebase_config(), indent=2))
        # Functions open their store at the first call. A store that is new then would refuse this call.
        spent_ids = self.data / "functions-spent.db"
        SpentIdFile(spent_ids, wait_seconds=1, clock=time.time).create()
        self.start_local_emulators(supervisor, f"{HOST}:{self.ports.auth}", IDENTITIES)
        process = supervisor.start(
            "firebase emulators:start",
            # `--only` leaves out the extensions emulator, which would ask the user to log in.
            [
                *("node", "--require", str(LAZY_VALIDATORS), "--require", str(PORT_OFFSET), str(firebase)),
                *("emulators:start", "--only", "auth,functions,tasks,hosting"),
                *("--config", str(config), "--project", self.project, "--import", str(SEED)),
            ],
            # firebase-tools passes its environment on to the functions. CI stops it from asking for news and updates.
            env=clean_environment()
            | {"CI": "true", "FUNCTIONS_EMULATOR_PARALLEL": str(FUNCTIONS_AT_ONCE)}
            | {"SHOP_PORT_OFFSET": str(self.ports.functions - Ports.functions)}
            # It imports the functions once at its start, gives that 10 s by default, and never tries again.
            | {"FUNCTIONS_DISCOVERY_TIMEOUT": f"{START_SECONDS:.0f}"}
            | {"BILLING_URL": self.url("billing"), FUNCTIONS_VARIABLE: self.auth_host}
            | {"MSTOKEN_MODE": self.mode, "MSTOKEN_BASE_URL": self.functions_url}
            | {"MSTOKEN_REPLAY_URL": f"sqlite:///{spent_ids}"}
            | self.identity_environment("delivery"),
            cwd=self.data,
            log=self.log("emulators"),
        )
        supervisor.wait_until(partial(process.has_logged, EMULATORS_READY), process.name, START_SECONDS)
        supervisor.wait_until(partial(_answers, self.function_url("health")), "The function health", START_SECONDS)
        supervisor.wait_until(
            partial(_is_token_service, self.function_url("token")), "The function token", START_SECONDS
        )

    def start_local_emulators(self, supervisor: Supervisor, upstream: str, services: Sequence[str] = ()) -> None:
        """Start the signed Auth emulator for the Auth emulator at `upstream` (host:port), and wait until it is ready.

        With it start the metadata servers of `services`. Raises RunnerError and Interrupted.
        """
        # The accounts in functions/policy.toml belong to this project, whatever the project of the stack is.
        process = supervisor.start(
            "local emulators",
            [
                *(sys.executable, "-m", "mstoken", "emulator", "--project", PROJECT),
                *("--port", str(self.ports.signed_auth), "--auth", upstream),
                *(part for name in services for part in ("--service", f"{name}={self._metadata_port(name)}")),
            ],
            env=clean_environment(),
            cwd=ROOT,
            log=self.log("local_emulators"),
        )
        supervisor.wait_until(partial(_is_signed_auth, f"{HOST}:{self.ports.signed_auth}"), process.name, START_SECONDS)

    def _metadata_port(self, name: str) -> int:
        """Return the port of a service's metadata server."""
        port: int = getattr(self.ports, f"metadata_{name}")
        return port

    def _firebase_config(self) -> dict[str, Any]:
        """Return firebase.json with our ports, and with paths that are relative to the data folder."""
        config: dict[str, Any] = json.loads((ROOT / "firebase.json").read_text())
        for codebase in config["functions"]:
            codebase["source"] = os.path.relpath(ROOT / codebase["source"], self.data)
        origins = [*map(self.url, SERVICES), f"http://{self.auth_host}"]
        config["hosting"] = local_hosting(config["hosting"], STOREFRONT, origins)
        for name in EMULATORS:
            config["emulators"][name] = {"host": HOST, "port": getattr(self.ports, name)}
        return config

    def start_services(self, supervisor: Supervisor) -> None:
        """Start the three services together, and wait until all are ready. Raises RunnerError and Interrupted."""
        for service in SERVICES:
            self._start_service(supervisor, service)
        for service in SERVICES:
            self._wait_for_service(supervisor, service)

    def start_service(self, supervisor: Supervisor, service: str) -> None:
        """Start one service, and wait until it is ready. Raises RunnerError and Interrupted."""
        self._start_service(supervisor, service)
        self._wait_for_service(supervisor, service)

    def _start_service(self, supervisor: Supervisor, service: str) -> None:
        supervisor.start(
            service,
            uvicorn(self._factory(service), getattr(self.ports, service), workers=self.workers),
            env=clean_environment() | self._service_environment(service),
            cwd=ROOT,
            log=self.log(service),
        )

    def _replay_url(self, service: str) -> str:
        """Return the URL of the store of a service's spent ids."""
        if self.redis:
            return f"redis://{HOST}:{self.ports.redis}/0"
        return f"sqlite:///{self.data / service}-spent.db"

    def start_redis(self, supervisor: Supervisor) -> None:
        """Start the Redis of this stack, and wait until it answers. It keeps what it has in a file of the data folder.

        Raises RunnerError if redis-server is not installed, and Interrupted.
        """
        program = shutil.which("redis-server")
        if program is None:
            raise RunnerError("redis-server is not installed (Debian: apt install redis-server). Run without --redis.")
        # Each write goes to the disk before its answer: a spent id must not be forgotten when Redis stops.
        options = ["--bind", HOST, "--port", str(self.ports.redis), "--dir", str(self.data), "--save", ""]
        command = [program, *options, "--appendonly", "yes", "--appendfsync", "always", "--appenddirname", REDIS_DATA]
        process = supervisor.start(REDIS, command, env=clean_environment(), cwd=self.data, log=self.log(REDIS))
        supervisor.wait_until(partial(_accepts_connections, self.ports.redis), process.name, START_SECONDS)

    def _wait_for_service(self, supervisor: Supervisor, service: str) -> None:
        supervisor.wait_until(partial(_answers, f"{self.url(service)}/readyz"), service, START_SECONDS)

    def _factory(self, service: str) -> str:
        """Return where uvicorn finds the function that makes a service's app."""
        return f"services.{service}.app:create_app"

    def _service_environment(self, service: str) -> dict[str, str]:
        return {
            "PYTHONUNBUFFERED": "1",
            "GOOGLE_CLOUD_PROJECT": self.project,
            AUTH_EMULATOR_VARIABLE: self.auth_host,
            "CLOUD_TASKS_EMULATOR_HOST": f"{HOST}:{self.ports.tasks}",
            "DELIVERY_PATIENCE_SECONDS": str(PATIENCE_SECONDS),
            "DATABASE_URL": f"sqlite:///{self.data / service}.db",
            # A developer may open the storefront under either name.
            "ALLOWED_ORIGINS": f"{self.url('hosting')},http://localhost:{self.ports.hosting}",
            "MSTOKEN_MODE": self.mode,
            "MSTOKEN_BASE_URL": self.base_url(service),
            "MSTOKEN_REPLAY_URL": self._replay_url(service),
            "USER_URL": self.url("user"),
            "PRODUCT_URL": self.base_url("product"),
            **self.identity_environment(service),
        }


def uvicorn(factory: str, port: int, *, workers: int = 1) -> list[str]:
    """Return the command that serves an app as all services are served. `factory` is "module:function"."""
    return [
        *(sys.executable, "-m", "uvicorn", "--factory", factory),
        *("--host", HOST, "--port", str(port), "--http", HTTP_PROTOCOL),
        *("--timeout-graceful-shutdown", str(STOP_SECONDS)),
        # By default uvicorn believes X-Forwarded-For of every client on this machine.
        *("--no-proxy-headers", "--workers", str(workers)),
    ]


def _answers(url: str) -> bool:
    """Return whether a GET is answered with 200."""
    try:
        return httpx.get(url, timeout=ANSWER_SECONDS).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _accepts_connections(port: int) -> bool:
    """Return whether a program listens on a port."""
    try:
        with socket.create_connection((HOST, port), timeout=ANSWER_SECONDS):
            return True
    except OSError:
        return False


def _is_signed_auth(auth_host: str) -> bool:
    """Return whether a signed Auth emulator listens at `auth_host` (host:port)."""
    return _answers(f"http://{auth_host}{CERTIFICATES_PATH}")


def _is_token_service(token_url: str) -> bool:
    """Return whether a token service answers at the URL: without a credential it answers 401."""
    try:
        return httpx.post(token_url, timeout=ANSWER_SECONDS).status_code == httpx.codes.UNAUTHORIZED
    except httpx.TransportError:
        return False


def clean_environment() -> dict[str, str]:
    """Return the user's environment without the variables that the stack sets itself, and without proxies."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SHOP_VARIABLES)}
    use_no_proxy(environment)
    return environment


def delete_proxies(environment: MutableMapping[str, str]) -> None:
    """Delete the variables that name a proxy, or the exceptions from one, for clients of all kinds."""
    for name in [name for name in environment if name.upper().endswith("_PROXY")]:
        del environment[name]


def use_no_proxy(environment: MutableMapping[str, str]) -> None:
    """Change an environment so that its processes send no request through a proxy: the whole stack is on this machine.

    NO_PROXY alone is not enough, because firebase-tools does not read it (firebase-tools#4386). But it is needed as
    well: without any variable, Python's clients use the proxy of the system's settings (macOS, Windows).
    """
    delete_proxies(environment)
    environment.update(NO_PROXY="*", no_proxy="*")
