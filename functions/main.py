"""The shop's Firebase functions.

`token` is the token service: the only one that can sign custom tokens. `deliver` takes tasks from its queue and carries
out the deliveries that they name; `estimate` says how long one takes. `health` says that the functions runtime is up
and what it runs.
"""

import json
import logging
import os
import platform
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import cast

import httpx
from firebase_functions import https_fn, logger, options, tasks_fn
from flask import Request, Response

# A deploy brings mstoken along in packed/ (see pack.py). Appended, so that on a laptop the checkout's own, linked into
# functions/venv, always wins over the copy that some deploy left there.
sys.path.append(os.path.join(os.path.dirname(__file__), "packed"))

from mstoken import Caller, ServiceIdentity
from mstoken.functions import Callee, TokenEndpoint
from mstoken.settings import AUTH_EMULATOR_VARIABLE

EMULATED = os.environ.get("FUNCTIONS_EMULATOR") == "true"
TIMEOUT = httpx.Timeout(10.0, connect=3.0)
DELIVERY_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
STEPS = ("dispatched", "delivered")
"""What the carrier reports, in order. It is a simulated one, so nothing ever breaks on the way."""
ENDS = ("delivered", "failed")
DAYS: Mapping[str, int] = {"US": 2, "CA": 4, "MX": 5}
"""How long the carrier takes, by the country that it goes to."""
DAYS_ELSEWHERE = 8
COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)

if EMULATED:
    # Where `npx firebase emulators:start` runs alone, everything else is expected at its usual place.
    _url = f"http://127.0.0.1:5001/{os.environ['GCLOUD_PROJECT']}/us-central1"
    os.environ.setdefault("MSTOKEN_BASE_URL", _url)
    os.environ.setdefault("MSTOKEN_TOKEN_SERVICE_URL", f"{_url}/token")
    for _variable in ("GCE_METADATA_HOST", "GCE_METADATA_IP"):
        os.environ.setdefault(_variable, "127.0.0.1:9104")
    if AUTH_EMULATOR_VARIABLE in os.environ:
        # The functions emulator names the raw Auth emulator here, whatever its own environment or a file .env says
        # (names that begin with FIREBASE_ are refused there). But the raw one's tokens are unsigned, and Billing
        # refuses them, as it should: so on a laptop, and only there, `svc:delivery` signs in at the signed emulator,
        # like everybody else.
        os.environ[AUTH_EMULATOR_VARIABLE] = os.environ.get("SIGNED_AUTH_EMULATOR_HOST") or "127.0.0.1:9100"
os.environ.setdefault("GOOGLE_CLOUD_PROJECT", os.environ.get("GCLOUD_PROJECT", ""))  # the name that mstoken knows


class _StructuredLog(logging.Handler):
    """Records as Cloud Logging reads them: a JSON object a line, what `extra` says among its members."""

    _ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}

    def emit(self, record: logging.LogRecord) -> None:
        facts = {name: value for name, value in vars(record).items() if name not in self._ORDINARY}
        if record.exc_info:
            facts["exception"] = logging.Formatter().formatException(record.exc_info)
        severity = "INFO" if record.levelno < logging.WARNING else record.levelname
        entry = {"severity": severity, "message": record.getMessage(), "logger": record.name, **facts}
        # What was sent may hold halves of characters, which no line can.
        whole = {name: _whole(value) if isinstance(value, str) else value for name, value in entry.items()}
        logger.write(cast(logger.LogEntry, whole))


def _whole(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


for _name in ("mstoken", "functions"):
    logging.getLogger(_name).setLevel(logging.INFO)
    logging.getLogger(_name).addHandler(_StructuredLog())
    logging.getLogger(_name).propagate = False
logging.getLogger("httpx").setLevel(logging.WARNING)  # It logs the address of the sign-in, API key included.
_log = logging.getLogger("functions")

# Accounts of the project that they are deployed to, as docs/production.md sets them up; none is the default one.
options.set_global_options(service_account=None if EMULATED else "delivery@")
_delivery = Callee("delivery")
_issue = TokenEndpoint(Path(__file__).with_name("policy.toml"))


@https_fn.on_request(service_account=None if EMULATED else "token@")  # The one account that may sign.
def token(request: Request) -> Response:
    """POST `{audience, mode, jkt?}` by a service that proves itself -> `{custom_token, expires_in}`; see `mstoken`."""
    return _issue(request)


@https_fn.on_request()
@_delivery.allow(users=True, services={"billing"})
def estimate(request: Request, caller: Caller) -> Response:
    """GET `?country=` an ISO 3166-1 alpha-2 code -> 200 `{country, days}`, 422 for none; for users and for Billing."""
    country = request.args.get("country", "")
    if not COUNTRY.fullmatch(country):
        members = {"type": "about:blank", "title": "A country is wanted", "status": 422, "code": "country_invalid"}
        return Response(json.dumps(members), 422, mimetype="application/problem+json")
    answer = {"country": country, "days": DAYS.get(country, DAYS_ELSEWHERE)}
    return Response(json.dumps(answer), mimetype="application/json")


@https_fn.on_request()
def health(request: Request) -> Response:
    """Any request -> 200, JSON: status "ok", the project's id, the runtime's version ("python 3.11.7")."""
    answer = {
        "status": "ok",
        "project": os.environ["GCLOUD_PROJECT"],
        "runtime": f"python {platform.python_version()}",
    }
    return Response(json.dumps(answer), mimetype="application/json")


@tasks_fn.on_task_dispatched(
    # Some two minutes of attempts. What is not done by then is done after all: Billing hands over again whatever has
    # not come to its end. The pauses are short, since a task keeps its place among those that run at the same time
    # through them in the emulator; which has few places, since it starts a process for each.
    retry_config=options.RetryConfig(max_attempts=14, min_backoff_seconds=1, max_backoff_seconds=10, max_doublings=4),
    rate_limits=options.RateLimits(max_concurrent_dispatches=4 if EMULATED else 50),
    timeout_sec=60,
)
def deliver(request: https_fn.CallableRequest[object]) -> str:
    """Carries out the delivery in `{"delivery_id": …}` and tells Billing each step; done twice, it changes nothing.

    A task that names no delivery, or one that Billing does not have, will not get better: it is dropped with a line
    in the log. Raises where Billing could not be told, so that the queue sends the task again: `httpx.HTTPError`,
    `mstoken.errors.MsTokenError`.
    """
    delivery_id = _delivery_id(request.data)
    if delivery_id is None:
        _log.error("A task was dropped: it names no delivery.")
        return "dropped"
    for step in STEPS:
        reached = _report(delivery_id, step)
        if reached is None:
            _log.error("The task of delivery %s was dropped: Billing has no such delivery.", delivery_id)
            return "dropped"
        if reached in ENDS:
            break
    return "done"


def _delivery_id(data: object) -> str | None:
    """The delivery that a task names, if it is an id as Billing makes them: it becomes part of an address."""
    found = data.get("delivery_id") if isinstance(data, dict) else None
    return found if isinstance(found, str) and DELIVERY_ID.fullmatch(found) else None


def _report(delivery_id: str, status: str) -> str | None:
    """Tells Billing what happened to a delivery, and gives its status then, which may be a later one.

    None if Billing has no delivery of that id; raises as `deliver` does.
    """
    answer = _billing().post(f"/deliveries/{delivery_id}/events", json={"status": status})
    if answer.status_code == httpx.codes.NOT_FOUND and _member(answer, "code") == "delivery_not_found":
        return None
    answer.raise_for_status()
    return _member(answer, "status")


def _member(answer: httpx.Response, name: str) -> str:
    """A member of the JSON object in an answer; "" where there is none: a 404 may come from some other machine."""
    try:
        content = answer.json()
    except ValueError:
        return ""
    return str(content.get(name, "")) if isinstance(content, dict) else ""


@cache
def _billing() -> httpx.Client:
    """Billing, as this process's `svc:delivery` calls it. Made for the first task: importing this file needs no
    settings, since firebase-tools imports it to see which functions there are.
    """
    identity = ServiceIdentity("delivery")
    url = os.environ.get("BILLING_URL") or "http://127.0.0.1:8003"
    return httpx.Client(base_url=url, auth=identity.to("billing"), timeout=TIMEOUT)
