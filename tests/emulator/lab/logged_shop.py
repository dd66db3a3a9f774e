"""A shop that does not run: a test writes what its processes log, and the lab reads it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from emulator.lab.app import create_lab
from emulator.lab.pages import Lab
from emulator.run.events import Event
from emulator.run.ports import Ports
from emulator.run.processes import Supervisor
from emulator.run.stack import Stack
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.clock import FakeClock

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzdmM6YmlsbGluZyJ9.c2lnbmF0dXJl"
"""A text that looks like a token."""


class LoggedShop:
    """A stack with a clock that stands still, and its lab. Times are seconds before or after the clock's."""

    def __init__(self, data: Path, ports: Ports | None = None, **changes: Any) -> None:
        self.stack = Stack(ports or Ports(), data, **changes)
        (data / "logs").mkdir()
        self.clock = FakeClock()
        self.lab = Lab(self.stack, Supervisor(), clock=self.clock)
        self.environment = {AUTH_EMULATOR_VARIABLE: self.stack.auth_host}

    def client(self) -> TestClient:
        """Return a browser, as it were, of the lab. It does not follow the logs by itself."""
        return TestClient(create_lab(self.lab, self.environment), base_url=self.stack.url("lab"))

    def log(self, process: str, event: str, *, at: float = 0, **facts: Any) -> None:
        """Write one record into the log of a process."""
        time = datetime.fromtimestamp(self.clock() + at, UTC).isoformat()
        with self.stack.log(process).open("a") as file:
            file.write(json.dumps({"event": event, "time": time, **facts}) + "\n")

    def call(self, *, at: float = 0, process: str = "product", **changes: Any) -> None:
        """Write the record of a call of Billing."""
        facts = {
            "caller": "svc:billing",
            "audience": process,
            "mode": "fresh",
            "age_seconds": 0.5,
            "one_time_id": "an-id",
            "token": "0a1b2c3d",
            "verdict": "accepted",
            "verify_ms": 2.0,
            "request_id": "r1",
        }
        self.log(process, "call", at=at, **facts | changes)

    def request(self, *, at: float = 0, process: str = "product", **changes: Any) -> None:
        """Write the record of a request."""
        facts = {"method": "GET", "path": "/products", "status": 200, "duration_ms": 8.0, "request_id": "r1"}
        self.log(process, "request", at=at, **facts | changes)

    def sign_in(self, *, at: float = 0, process: str = "billing", **changes: Any) -> None:
        """Write the record of a sign-in of Billing for Product."""
        facts = {
            "audience": "product",
            "mode": "fresh",
            "custom_token_ms": 20.0,
            "sign_in_ms": 10.0,
            "token": "0a1b2c3d",
            "in_stock": 3,
        }
        self.log(process, "signed in", at=at, **facts | changes)

    def read(self) -> list[Event]:
        """Let the lab read what was written. Return the new events."""
        return list(self.lab.journal.poll())
