"""Measures what a call of GET /products costs with each HTTP parser of uvicorn: `python -m bench.http_parsers`.

This is the whole call over an open connection: the parser, the Product service, the checks of a bound token and its
proof, and SQLite. Only Firebase is absent. httptools must be installed (`pip install httptools`). The services do not
use it, because it takes trailers for headers and has no limit for a header.
"""

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import uvloop
from fastapi import FastAPI
from uvicorn import Config
from uvicorn.server import ServerState

from bench.issuer import PROJECT, BenchFirebase, Issuer
from bench.measure import REPETITIONS, ROUNDS, Work, measured
from mstoken import Settings, TokenVerifier
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.claims import ServiceClaims
from mstoken.proof import ProofKey
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from services.product.app import create_app
from services.product.settings import ProductSettings

PARSERS = ("h11", "httptools")
BASE_URL = "https://product.example.com"
PATH = "/products"


def main() -> None:
    """Print the cost of a call with each parser, and the ratio."""
    os.environ.pop(AUTH_EMULATOR_VARIABLE, None)  # While it is set, firebase-admin does not verify signatures.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        costs = runner.run(calls(Path(folder)))
    for parser, microseconds in costs.items():
        print(f"GET /products with {parser}: {microseconds:.0f} µs of processor time")  # noqa: T201 - it is its output
    print(f"h11 / httptools: {costs['h11'] / costs['httptools']:.3f}")  # noqa: T201 - as above


async def calls(folder: Path) -> dict[str, float]:
    """Return the processor time of a call with each parser, in microseconds."""
    issuer = Issuer()
    os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(issuer.credentials_file(folder))
    requests = _requests(issuer)
    async with _product(issuer, folder) as app:
        rounds = await measured({parser: await _call(app, parser, requests) for parser in PARSERS})
    return {parser: min(costs.cpu) for parser, costs in rounds.items()}


@asynccontextmanager
async def _product(issuer: Issuer, folder: Path) -> AsyncIterator[FastAPI]:
    settings = Settings(
        project_id=PROJECT,
        emulator_host=None,
        base_url=BASE_URL,
        certificates_file=issuer.certificates_file(folder),
    )
    # The proofs were made in advance. So the clock of the verifier stands still, and no proof becomes too old.
    started_at = time.time()
    verifier = TokenVerifier(
        "product",
        settings,
        firebase=BenchFirebase(settings),
        replay=SQLiteReplayStore(folder / "spent.db"),
        clock=lambda: started_at,
    )
    app = create_app(ProductSettings(database_url=f"sqlite:///{folder}/product.db"), verifier=verifier)
    async with app.router.lifespan_context(app):
        yield app


async def _call(app: FastAPI, parser: str, requests: Iterator[bytes]) -> Work:
    """Return an operation that sends the next request on one connection, and reads the answer."""
    loop = asyncio.get_running_loop()
    config = Config(app, http=parser, log_level="warning")
    config.load()
    client, server = socket.socketpair()
    client.setblocking(False)
    state = ServerState()
    await loop.connect_accepted_socket(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),  # type: ignore[call-arg]
        server,
    )

    async def call(request: bytes) -> None:
        await loop.sock_sendall(client, request)
        answer = await loop.sock_recv(client, 65_536)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the call was refused: {answer[:500]!r}")

    return Work(call, lambda number: list(islice(requests, number)))


def _requests(issuer: Issuer) -> Iterator[bytes]:
    """Return the requests of all rounds: one token, and a proof for each."""
    key = ProofKey()
    now = time.time()
    claims = ServiceClaims.bound("billing", "product", key.thumbprint, minted_at=now)
    token = issuer.id_token("svc:billing", claims.as_developer_claims())
    lines = (
        f"GET {PATH} HTTP/1.1",
        "Host: product.example.com",
        "Accept: */*",
        "Accept-Encoding: gzip, deflate",
        "Connection: keep-alive",
        "User-Agent: python-httpx/0.28.1",
        f"X-MS-TOKEN: {token}",
    )
    head = "\r\n".join(lines)
    number = len(PARSERS) * REPETITIONS * (ROUNDS + 1)
    proofs = [key.proof("GET", BASE_URL + PATH, token, issued_at=now) for _ in range(number)]
    return (f"{head}\r\nDPoP: {proof}\r\n\r\n".encode() for proof in proofs)


if __name__ == "__main__":
    main()
