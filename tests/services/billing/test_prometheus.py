"""The dashboard of Grafana and the alert rules: every query finds data of a shop under load, in a real Prometheus."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from opentelemetry import metrics
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from emulator.run.ports import free_port
from mstoken.callee.certificates import CertificateCache, Fetched
from mstoken.caller.bound import RENEWAL_AGE_SECONDS, BoundToken
from mstoken.errors import SignInUnavailable
from mstoken.testing.fake_forge import FakeForge
from mstoken.wire import SERVICE_TOKEN_HEADER
from services.common import measures, telemetry
from tests.clock import FakeClock, SkippingSleep
from tests.prometheus import MISSING, PrometheusServer, running_prometheus
from tests.recorded import not_set_up
from tests.services.billing.conftest import Shop
from tests.services.conventions import use_new_conventions
from tests.services.shop import ADDRESS, answered, eventually

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
CONFIGURATION = ROOT / "deploy/prometheus/prometheus.yml"
JOB = "billing"


@pytest.fixture
def metrics_port() -> Iterator[int]:
    """The port of /metrics of this process, which is set up as one of Billing."""
    port = free_port()
    variables = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
    with pytest.MonkeyPatch.context() as patch, not_set_up():
        use_new_conventions(patch)
        server = telemetry.configure("billing", variables)
        try:
            yield port
        finally:
            HTTPXClientInstrumentor().uninstrument()
            metrics.get_meter_provider().shutdown()  # type: ignore[attr-defined] # the SDK's has it
            assert server is not None
            server.shutdown()
            server.server_close()


@pytest.fixture
def prometheus(metrics_port: int, tmp_path: Path) -> Iterator[PrometheusServer]:
    """A Prometheus that watches this process."""
    with running_prometheus(tmp_path, {JOB: f"127.0.0.1:{metrics_port}"}, ALERTS) as server:
        yield server


def rules() -> list[dict[str, Any]]:
    """Return the alert rules of the file."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def queries() -> dict[str, str]:
    """Return every query of the dashboard by the title of its panel, as Grafana sends it, and of every alert.

    That of an alert is without its threshold: an alert whose condition does not hold has no result.
    """
    found: dict[str, str] = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*")
            found[f"{panel['title']} {target['refId']}"] = expression
    for rule in rules():
        expression, comparison, _threshold = re.split(r" (>) (?=[\d.]+$)", rule["expr"].strip())
        assert comparison
        found[f"alert {rule['alert']}"] = expression
    return found


async def load(shop: Shop) -> None:
    """Let the shop do, once each, what the dashboard shows: purchases, refusals, outages, renewals that fail."""
    kettle = await shop.offer(stock=50)
    for _ in range(3):
        bill = answered(await shop.order((kettle["id"], 1)), 201)
        path = f"/bills/{bill['id']}/delivery"
        delivery = answered(await shop.billing.post(path, json={"address": ADDRESS}, headers=shop.maya), 202)
        await eventually(partial(is_handed_over, shop, delivery["id"]))
        for status in "dispatched", "delivered":
            headers = shop.firebase.service_headers("delivery", to="billing")
            await shop.billing.post(f"/deliveries/{delivery['id']}/events", json={"status": status}, headers=headers)
    token = shop.firebase.service_headers("billing", to="product")[SERVICE_TOKEN_HEADER]
    for _ in range(2):
        await shop.product.get("/products", headers={SERVICE_TOKEN_HEADER: token})
    shop.to_product.answers_with(httpx.Response(503))
    for _ in range(3):
        await shop.order((kettle["id"], 1))
    measures.SHED.add(1)


async def is_handed_over(shop: Shop, delivery_id: str) -> bool:
    return any(found == delivery_id for found, _ in shop.queue.accepted)


async def renew() -> None:
    """Renew a bound token: the first attempt fails, the second one does not."""
    outcomes: list[Exception | None] = [None, SignInUnavailable("svc:billing", "down"), None, None]
    clock = FakeClock()

    async def sign_in() -> str:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome
        return "token"

    sleep = SkippingSleep(clock, end=clock.now + 2 * RENEWAL_AGE_SECONDS)
    token = BoundToken("product", sign_in, clock=clock, sleep=sleep, jitter=lambda: 0.5)
    await token.get()
    await sleep.has_reached_end.wait()
    assert token._renewal is not None
    await token._renewal.aclose()


class OneCertificate:
    """A source with one certificate."""

    def __init__(self, certificates: dict[str, str]) -> None:
        self._certificates = certificates

    async def fetch(self) -> Fetched:
        return Fetched(self._certificates, 3600)


async def test_every_query_finds_data(shop_of_prometheus: Shop, prometheus: PrometheusServer) -> None:
    """Each panel of the dashboard has data of a shop under load, and so has each alert."""
    shop = shop_of_prometheus
    forge = FakeForge(shop.firebase, shop.firebase.clock)
    async with CertificateCache(OneCertificate(forge.certificates())):
        await load(shop)
        await renew()
        expressions = queries()
        assert len(expressions) > 25

        empty: list[str] = []

        async def all_have_data() -> bool:
            nonlocal empty
            empty = [title for title, expression in expressions.items() if not await ask(prometheus, expression)]
            return not empty

        try:
            await eventually(all_have_data, within_seconds=60)
        except TimeoutError:
            pytest.fail(f"No data: {empty}")
        loaded = {rule["name"] for rule in prometheus.rules()}
        assert loaded == {rule["alert"] for rule in rules()}
        assert await ask(prometheus, rules()[0]["expr"])  # The replay is seen, although it was the first one.


async def ask(prometheus: PrometheusServer, expression: str) -> list[dict[str, Any]]:
    return await asyncio.to_thread(prometheus.query, expression)


@pytest.fixture
async def shop_of_prometheus(metrics_port: int, shop: Shop) -> Shop:
    """A shop that is measured from its start."""
    return shop


@pytest.mark.process
@pytest.mark.parametrize(("kind", "file"), [("rules", ALERTS), ("config", CONFIGURATION)], ids=["rules", "config"])
def test_promtool_accepts_the_files(kind: str, file: Path) -> None:
    """The rules and the configuration are valid."""
    if shutil.which("promtool") is None:
        pytest.skip(MISSING)
    done = subprocess.run(["promtool", "check", kind, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_alert_has_a_paragraph_in_the_runbook() -> None:
    """Its link leads to a heading of docs/runbook.md, and every heading there belongs to an alert."""
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert [rule["alert"] for rule in rules()] == headings
    for rule in rules():
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/runbook.md#{rule['alert'].lower()}")
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_the_ports_are_those_of_the_services() -> None:
    """Prometheus asks each service at ports of its own: the first one is the default for User."""
    targets = {
        scrape["job_name"]: scrape["static_configs"][0]["targets"]
        for scrape in yaml.safe_load(CONFIGURATION.read_text())["scrape_configs"]
    }
    firsts = {job: int(addresses[0].rpartition(":")[2]) for job, addresses in targets.items()}
    assert firsts == {
        "user": telemetry.PROMETHEUS_PORT,
        "product": telemetry.PROMETHEUS_PORT + telemetry.PORTS_TO_TRY,
        "billing": telemetry.PROMETHEUS_PORT + 2 * telemetry.PORTS_TO_TRY,
    }
