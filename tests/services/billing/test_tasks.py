"""services/billing/tasks.py: Cloud Tasks and the tasks emulator, through firebase-admin"""

import asyncio
import base64
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import firebase_admin
import google.auth.credentials
import pytest
import requests
from firebase_admin import functions

from emulator.run.ports import HOST
from emulator.run.stack import Stack
from services.billing.dispatcher import BATCH, QueueUnavailable
from services.billing.tasks import CLOUD_TASKS_EMULATOR_VARIABLE, FirebaseQueue
from tests.services.shop import eventually

DEADLINE_SECONDS = 0.3
FIREBASE_ADMIN_SECONDS = 120.0
"""For how long firebase-admin itself would wait."""


class TasksServer(ThreadingHTTPServer):
    """A tasks emulator that stores what it is sent, and answers with `status` once `may_answer` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Enqueue)
        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.requests: list[tuple[str, dict[str, Any]]] = []


class _Enqueue(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, TasksServer)
        task = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["task"]
        server.requests.append((self.path, task))
        server.may_answer.wait()
        name = {"name": task["name"] or f"{self.path}/1"}
        body = json.dumps({"task": task | name}).encode() if server.status == 200 else b"no"
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@contextmanager
def an_app(credential: firebase_admin.credentials.Base | None = None) -> Iterator[firebase_admin.App]:
    """Return a new app of firebase-admin. An app keeps the emulator that it called first."""
    name = f"demo-{secrets.token_hex(4)}"
    app = firebase_admin.initialize_app(credential, {"projectId": name}, name)
    yield app
    firebase_admin.delete_app(app)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TasksServer]:
    """A tasks emulator, which the environment names."""
    with TasksServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv(CLOUD_TASKS_EMULATOR_VARIABLE, f"{HOST}:{server.server_port}")
        yield server
        server.may_answer.set()
        server.shutdown()


@pytest.fixture
def queue(server: TasksServer) -> Iterator[FirebaseQueue]:
    """The queue of the function `deliver` in that emulator."""
    with an_app() as app:
        yield FirebaseQueue("deliver", app)


async def test_the_task_that_arrives(queue: FirebaseQueue, server: TasksServer) -> None:
    """A task arrives in the queue of the function, with the delivery where the function expects it."""
    await queue.hand_over("d1", "t1")
    [(path, task)] = server.requests
    assert path.startswith("/projects/demo-")
    assert path.endswith("/locations/us-central1/queues/deliver/tasks")
    assert json.loads(base64.b64decode(task["httpRequest"]["body"])) == {"data": {"delivery_id": "d1"}}


async def test_a_function_in_another_region(server: TasksServer) -> None:
    """The name of a function in another region includes the region."""
    with an_app() as app:
        await FirebaseQueue("locations/europe-west1/functions/deliver", app).hand_over("d1", "t1")
    assert "/locations/europe-west1/queues/deliver/" in server.requests[0][0]


@pytest.mark.parametrize("status", [400, 403, 404, 429])
async def test_a_queue_that_refuses(queue: FirebaseQueue, server: TasksServer, status: int) -> None:
    """Every error answer of the queue means that the hand-over is tried again later."""
    server.status = status
    with pytest.raises(QueueUnavailable):
        await queue.hand_over("d1", "t1")


async def test_a_queue_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that cannot be reached means that the hand-over is tried again later."""
    with TasksServer() as closed:
        monkeypatch.setenv(CLOUD_TASKS_EMULATOR_VARIABLE, f"{HOST}:{closed.server_port}")
    with an_app() as app, pytest.raises(QueueUnavailable):
        await FirebaseQueue("deliver", app).hand_over("d1", "t1")


async def test_a_queue_that_hangs(server: TasksServer) -> None:
    """A hand-over ends at its deadline. While too many hang, others do not begin. When they end, others succeed."""
    server.may_answer.clear()
    with an_app() as app:
        await hang_and_go_on(FirebaseQueue("deliver", app, deadline_seconds=DEADLINE_SECONDS), server)


async def hang_and_go_on(queue: FirebaseQueue, server: TasksServer) -> None:
    """Hand over to a server that does not answer, until it does."""
    hanging = [queue.hand_over(f"d{number}", "t") for number in range(BATCH + 1)]
    async with asyncio.timeout(FIREBASE_ADMIN_SECONDS / 2):
        ends = await asyncio.gather(*hanging, return_exceptions=True)
    assert {type(end) for end in ends} == {QueueUnavailable}

    async def all_have_come() -> bool:
        return len(server.requests) == BATCH

    await eventually(all_have_come)  # The last threads may reach the server after their deadline.
    with pytest.raises(QueueUnavailable, match="too many earlier hand-overs"):
        await queue.hand_over("d", "t")
    server.may_answer.set()
    async with asyncio.timeout(60):
        while True:
            try:
                return await queue.hand_over("d", "t")
            except QueueUnavailable:
                await asyncio.sleep(0.05)


class FakeGoogleCredentials(google.auth.credentials.Credentials):
    """Credentials that are never fetched."""

    service_account_email = "billing@demo.iam.gserviceaccount.com"

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.token = "a token"

    def refresh(self, request: object) -> None:
        """Do nothing."""


class FakeGoogleAccount(firebase_admin.credentials.Base):  # type: ignore[misc]
    """The same credentials for firebase-admin."""

    def get_credential(self) -> FakeGoogleCredentials:
        return FakeGoogleCredentials()


class FakeCloudTasks(requests.adapters.BaseAdapter):
    """Cloud Tasks, as far as it creates tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def send(self, request: requests.PreparedRequest, *_rest: object, **_options: object) -> requests.Response:
        assert request.url is not None
        assert request.url.startswith("https://cloudtasks.googleapis.com/v2/projects/demo-")
        name = json.loads(request.body or b"")["task"]["name"]
        known = name in self.names
        self.names.append(name)
        answer = requests.Response()
        answer.request = request
        answer.status_code = 409 if known else 200
        error = {"code": 409, "status": "ALREADY_EXISTS", "message": "Requested entity already exists"}
        answer._content = json.dumps({"error": error} if known else {"name": name}).encode()
        return answer

    def close(self) -> None:
        """Do nothing."""


async def test_a_repeated_hand_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated hand-over has the same task name, and succeeds although Cloud Tasks knows the name already."""
    monkeypatch.setenv(CLOUD_TASKS_EMULATOR_VARIABLE, "")
    cloud_tasks = FakeCloudTasks()
    with an_app(FakeGoogleAccount()) as app:
        # No option of firebase-admin's leads to the session that it calls Cloud Tasks with.
        functions._get_functions_service(app)._http_client.session.mount("https://", cloud_tasks)
        queue = FirebaseQueue("deliver", app)
        await queue.hand_over("d1", "t1")
        await queue.hand_over("d1", "t1")
    assert cloud_tasks.names == [f"projects/{app.project_id}/locations/us-central1/queues/deliver/tasks/t1"] * 2


def test_why_tasks_have_no_names_at_the_emulator(emulators: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """firebase-admin cannot read the emulator's answer to a task with a name. If this fails, name tasks there too."""
    monkeypatch.setenv(CLOUD_TASKS_EMULATOR_VARIABLE, f"{HOST}:{emulators.ports.tasks}")
    name = secrets.token_hex(8)
    app = firebase_admin.initialize_app(options={"projectId": emulators.project}, name=name)
    task = {"data": "of no use to anybody"}
    with pytest.raises(ValueError, match="Invalid resource name"):
        functions.task_queue("deliver", app=app).enqueue(task, functions.TaskOptions(task_id=name))
    firebase_admin.delete_app(app)
