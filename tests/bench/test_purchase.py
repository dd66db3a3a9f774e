"""A purchase is measured with real services, and without authentication between them only in the benchmark."""

import json
from pathlib import Path

import httpx
import pytest

from bench import purchase
from bench.load import LoadClient
from bench.purchase import ShopStack, bill_request, case_name, cpu_of
from bench.results import ERRORS, P50, P99, THROUGHPUT
from bench.route import OFF, POSTGRESQL, PROOF
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import Stack
from tests.waiting import WAIT_SECONDS


def test_a_case_is_named_by_what_it_has_beside_the_usual() -> None:
    """A case of one worker, SQLite and four clients is named by its mode only."""
    assert case_name(PROOF) == "proof mode"
    assert case_name(OFF, workers=2) == "authentication off, two workers"
    assert case_name(PROOF, database=POSTGRESQL, clients=16) == "proof mode, PostgreSQL, 16 clients"


def test_the_request_of_a_purchase_is_complete() -> None:
    """The head of a purchase has the token and a key of its own, and announces the length of its body."""
    head, _, body = bill_request("t.o.k", {"product_id": "p", "quantity": 1}).partition(b"\r\n\r\n")
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert int(lines["Content-Length"]) == len(body)
    assert lines["Authorization"] == "Bearer t.o.k"
    assert lines["Idempotency-Key"] not in bill_request("t.o.k", {}).decode()
    assert json.loads(body) == {"items": [{"product_id": "p", "quantity": 1}]}


def shop_beside(emulators: Stack, folder: Path, mode: str) -> ShopStack:
    """Return a shop that uses these emulators: without authentication between its services, or with proofs."""
    data = folder / mode
    data.mkdir()
    return ShopStack(
        Ports.shifted(free_offset()),
        data,
        emulators.project,
        emulator_host=emulators.auth_host,
        emulator_ports=emulators.ports,
        mode="proof",
        is_open=mode == OFF,
    )


@pytest.mark.slow
def test_purchases_are_measured_with_and_without_authentication(emulators: Stack, tmp_path: Path) -> None:
    """Bills are made in both shops, none is refused, and each service has spent processor time on them."""
    compared = {mode: shop_beside(emulators, tmp_path, mode) for mode in (OFF, PROOF)}
    with LoadClient() as client:
        measured = list(purchase.compare(compared, Supervisor(), client, ends_at=0))
    found = {(each.case, each.quantity): each.values for each in measured}
    for mode in (OFF, PROOF):
        for clients in (purchase.CLIENTS, purchase.MORE_CLIENTS):
            case = case_name(mode, clients=clients)
            assert len(found[case, THROUGHPUT]) == purchase.MIN_ROUNDS
            assert min(found[case, THROUGHPUT]) > 0
            assert max(found[case, ERRORS]) == 0
            assert max(found[case, P50]) <= max(found[case, P99])
            assert all(min(found[case, cpu_of(name)]) > 0 for name in ("billing", "product"))


@pytest.mark.slow
def test_a_shop_without_authentication_still_asks_users_for_their_tokens(emulators: Stack, tmp_path: Path) -> None:
    """Without authentication between services, a call without any token is refused, and one with a service's is not."""
    shop = shop_beside(emulators, tmp_path, OFF)
    supervisor = Supervisor()
    try:
        shop.start_service(supervisor, "product")
        products = f"{shop.url('product')}/products"
        assert httpx.get(products, timeout=WAIT_SECONDS).status_code == 401
        assert httpx.get(products, headers={"Authorization": "Bearer a.b.c"}, timeout=WAIT_SECONDS).status_code == 401
        assert httpx.get(products, headers={"X-MS-TOKEN": "none"}, timeout=WAIT_SECONDS).status_code == 200
    finally:
        supervisor.stop()
