"""The processes of the shop: how long each takes from its start until it is ready, and how much memory it needs.

A process starts on a database that has its tables, as after a deployment without a migration. Ready means that
`/readyz` answers 200, or that the token service answers. Memory is what the process has for itself, with its part of
what it shares with others (PSS; where the system does not know that, USS).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx

from bench.growth.names import READY_MEMORY, USED_MEMORY
from bench.issuer import PROJECT, Issuer
from bench.load import Load, send
from bench.results import START, Measurement, Plan
from bench.route import issuer_environment, replay_url
from bench.servers import Server, Servers
from emulator.run.ports import HOST, free_port
from emulator.run.stack import ROOT
from services.billing.app import MIGRATIONS as BILLING
from services.product.app import MIGRATIONS as PRODUCT
from services.user.app import MIGRATIONS as USER
from tests.services.conftest import migrate, run_in_thread, sqlite_url

ROUNDS, LARGE_ROUNDS = 2, 5
REQUESTS = 1_000
WAIT_SECONDS = 60.0
PAUSE_SECONDS = 0.005
"""Seconds between two questions whether a process is ready."""
TOKEN_SERVICE = "token function"
"""The function `token`, as the functions framework serves it: the platform starts it like this."""
LOADS = {
    "user": "GET /profile",
    "product": "GET /products?limit=20",
    "billing": "GET /bills?limit=20",
    TOKEN_SERVICE: "POST /",
}
"""Case -> what is requested. A user asks the services. The token service refuses requests without a credential."""


@dataclass(frozen=True)
class _Case:
    """A process: how it is started, what it is asked until it is ready, and what it is loaded with.

    Each of these is a method with a path, such as "GET /readyz". It is ready when it answers with `status`.
    """

    name: str
    start: Callable[[], Server]
    question: str
    load: bytes
    status: int


def measure(plan: Plan) -> list[Measurement]:
    """Start each process several times."""
    return measured(plan, LARGE_ROUNDS if plan.is_large else ROUNDS)


def measured(plan: Plan, rounds: int) -> list[Measurement]:
    """Start each process so many times. The last time it also answers requests."""
    found: dict[tuple[str, str], list[float]] = {}
    with Servers(plan.folder) as servers:
        cases = list(_cases(plan, servers))
        for turn in range(rounds):
            for case in cases:
                began = time.monotonic()
                server = case.start()
                _wait(servers, server, case)
                took = time.monotonic() - began
                found.setdefault((case.name, START), []).append(took)
                found.setdefault((case.name, READY_MEMORY), []).append(_memory_bytes(server) / 1e6)
                if turn == rounds - 1:
                    send(Load(server.port, [case.load] * REQUESTS)).expect(case.status)
                    found.setdefault((case.name, USED_MEMORY), []).append(_memory_bytes(server) / 1e6)
                servers.supervisor.end(server.name, kill=True)
    return [
        Measurement(name, quantity, "s" if quantity == START else "MB", values)
        for (name, quantity), values in found.items()
    ]


def _cases(plan: Plan, servers: Servers) -> Iterator[_Case]:
    issuer = Issuer()
    environment = issuer_environment(issuer, plan.folder) | {"MSTOKEN_API_KEY": "bench"}
    token = _user_token(issuer)
    for service, migrations in (("user", USER), ("product", PRODUCT), ("billing", BILLING)):
        url = sqlite_url(plan.folder / f"{service}.db")
        run_in_thread(migrate(url, migrations))
        own = environment | {
            "DATABASE_URL": url,
            "MSTOKEN_REPLAY_URL": replay_url(plan.folder / f"{service}-spent.db"),
        }

        def start(service: str = service, own: dict[str, str] = own) -> Server:
            return servers.start_app(service, f"bench.growth.apps:{service}", own)

        yield _Case(service, start, "GET /readyz", _request(LOADS[service], f"Authorization: Bearer {token}"), 200)
    framework = ROOT / "functions" / "venv" / "bin" / "functions-framework"
    if not framework.exists():
        plan.leave_out(f"Start of the {TOKEN_SERVICE}: functions/venv is missing (make setup)")
        return
    function = environment | {"GCLOUD_PROJECT": PROJECT, "MSTOKEN_TOKEN_SERVICE_URL": "https://token.example.com"}

    def start_function() -> Server:
        port = free_port()
        source = ["--source", str(ROOT / "functions" / "main.py"), "--target", "token"]
        return servers.start("token", [str(framework), *source, "--host", HOST, "--port", str(port)], port, function)

    yield _Case(TOKEN_SERVICE, start_function, LOADS[TOKEN_SERVICE], _request(LOADS[TOKEN_SERVICE]), 401)


def _memory_bytes(server: Server) -> int:
    """Return the memory of the processes of a server."""
    found = [member.memory_full_info() for member in server.members]
    return sum(getattr(info, "pss", info.uss) for info in found)


def _wait(servers: Servers, server: Server, case: _Case) -> None:
    """Wait until a process is ready. Raises TimeoutError, and what `Servers.check` does."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    with httpx.Client(base_url=f"http://{HOST}:{server.port}", trust_env=False, timeout=WAIT_SECONDS) as client:
        while time.monotonic() < give_up_at:
            with suppress(httpx.TransportError):
                if client.request(*case.question.split(" ")).status_code == case.status:
                    return
            servers.check()
            time.sleep(PAUSE_SECONDS)
    raise TimeoutError(f"{case.name} was not ready after {WAIT_SECONDS:.0f} s.")


def _user_token(issuer: Issuer) -> str:
    """Return the ID token of a user who has signed in with a password."""
    now = int(time.time())
    return issuer.signed(
        {
            "iss": issuer.issuer,
            "aud": PROJECT,
            "auth_time": now,
            "user_id": "maya",
            "sub": "maya",
            "iat": now,
            "exp": now + 3600,
            "email": "maya@example.com",
            "firebase": {"identities": {}, "sign_in_provider": "password"},
        }
    )


def _request(request: str, *headers: str) -> bytes:
    """Return a request, such as "GET /profile", with more header lines, as it is sent."""
    lines = (f"{request} HTTP/1.1", "Host: shop.example.com", "Accept: */*", "Content-Length: 0", *headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
