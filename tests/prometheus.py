"""A Prometheus on a free port, with its data in a folder of its own."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulator.run.ports import free_port
from tests.waiting import WAIT_SECONDS

START_SECONDS = 30.0
MISSING = "prometheus is not installed (Debian: apt install prometheus)"


@dataclass(frozen=True)
class PrometheusServer:
    """A running Prometheus."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an expression as it is now. Fail if Prometheus does not accept the expression."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=WAIT_SECONDS).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return the alert rules that it has loaded."""
        groups = httpx.get(f"{self.url}/api/v1/rules", timeout=WAIT_SECONDS).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, str], rules: Path) -> Iterator[PrometheusServer]:
    """Run a server that asks each target, an address by the name of its job, five times a second.

    Skip the test if Prometheus is not installed.
    """
    if shutil.which("prometheus") is None:
        pytest.skip(MISSING)
    configuration = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in targets.items()
        ],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(configuration))  # YAML contains JSON.
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_until_ready(f"http://{address}", process)
        yield PrometheusServer(f"http://{address}")
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    ends_at = time.monotonic() + START_SECONDS
    while time.monotonic() < ends_at:
        try:
            if httpx.get(f"{url}/-/ready", timeout=WAIT_SECONDS).is_success:
                return
        except httpx.TransportError:
            assert process.poll() is None, "Prometheus has ended."
        time.sleep(0.05)
    raise AssertionError("Prometheus is not ready.")
