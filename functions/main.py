"""The shop's Firebase functions.

`token` is the token service, the only function that can sign custom tokens. `deliver` takes tasks from its queue and
carries out the deliveries that they name. `estimate` tells how long a delivery takes. `health` tells that the functions
runtime is up, and which one it is.
"""

import json
import logging
import os
import platform
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import cast

import httpx
from firebase_functions import https_fn, logger, options, tasks_fn
from flask import Request, Response
from typing_extensions import override

# A deployment brings mstoken along in packed/ (see pack.py). The folder comes last on the path: on a laptop the
# checkout's own mstoken, which is linked into functions/venv, must win over a copy that an earlier deployment left.
sys.path.append(os.path.join(os.path.dirname(__file__), "packed"))

import telemetry

from mstoken import Caller, ServiceIdentity, TokenVerifier
from mstoken.functions import Callee, TokenEndpoint
from mstoken.problem import Problem
from mstoken.settings import AUTH_EMULATOR_VARIABLE

EMULATED = os.environ.get("FUNCTIONS_EMULATOR") == "true"
TIMEOUT = httpx.Timeout(10.0, connect=3.0)
"""For calls of Billing, in seconds."""
DELIVERY_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
STEPS = ("dispatched", "delivered")
"""What the carrier reports, in order. The carrier is simulated, so no delivery ever fails."""
ENDS = ("delivered", "failed")
DAYS: Mapping[str, int] = {"US": 2, "CA": 4, "MX": 5}
"""How many days the carrier takes, by country of destination."""
DAYS_ELSEWHERE = 8
COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)

if EMULATED:
    # `make run` sets these variables. The defaults are for `npx firebase emulators:start` without it.
    _url = f"http://127.0.0.1:5001/{os.environ['GCLOUD_PROJECT']}/us-central1"
    os.environ.setdefault("MSTOKEN_BASE_URL", _url)
    os.environ.setdefault("MSTOKEN_TOKEN_SERVICE_URL", f"{_url}/token")
    for _variable in ("GCE_METADATA_HOST", "GCE_METADATA_IP"):
        os.environ.setdefault(_variable, "127.0.0.1:9104")
    if AUTH_EMULATOR_VARIABLE in os.environ:
        # The functions emulator sets this variable to the raw Auth emulator. Its own environment cannot change that,
        # and neither can a file .env, in which names that begin with FIREBASE_ are not allowed. But the raw emulator's
        # tokens are unsigned, and Billing refuses unsigned tokens. So in the emulator, and only there, `svc:delivery`
        # signs in at the signed emulator, as every service does.
        os.environ[AUTH_EMULATOR_VARIABLE] = os.environ.get("SIGNED_AUTH_EMULATOR_HOST") or "127.0.0.1:9100"
os.environ.setdefault("GOOGLE_CLOUD_PROJECT", os.environ.get("GCLOUD_PROJECT", ""))  # the name that mstoken reads


class _StructuredLog(logging.Handler):
    """Writes log records as Cloud Logging reads them: one JSON object in a line, with the members of `extra`."""

    _ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}

    @override
    def emit(self, record: logging.LogRecord) -> None:
        facts = {name: value for name, value in vars(record).items() if name not in self._ORDINARY}
        if record.exc_info:
            facts["exception"] = logging.Formatter().formatException(record.exc_info)
        severity = "INFO" if record.levelno < logging.WARNING else record.levelname
        # Cloud Logging takes `time` for the time of the entry (structured logging, "Special JSON fields").
        time = datetime.fromtimestamp(record.created, UTC).isoformat()
        entry = {"severity": severity, "time": time, "message": record.getMessage(), "logger": record.name, **facts}
        entry |= telemetry.trace_ids()
        encodable = {name: _encodable(value) if isinstance(value, str) else value for name, value in entry.items()}
        logger.write(cast(logger.LogEntry, encodable))


def _encodable(text: str) -> str:
    """Return the text with lone surrogates escaped: requests may contain them, and UTF-8 cannot encode them."""
    return text.encode("utf-8", "backslashreplace").decode()


for _name in ("mstoken", "functions"):
    logging.getLogger(_name).setLevel(logging.INFO)
    logging.getLogger(_name).addHandler(_StructuredLog())
    logging.getLogger(_name).propagate = False
logging.getLogger("httpx").setLevel(logging.WARNING)  # Below that it logs a line for each sign-in.
_log = logging.getLogger("functions")
telemetry.configure("functions")

# Service accounts of the project that the functions are deployed to; docs/production.md creates them. No function runs
# as the project's default account.
options.set_global_options(service_account=None if EMULATED else "delivery@")
_delivery = Callee(TokenVerifier("delivery"))
_issue = TokenEndpoint(Path(__file__).with_name("policy.toml"))


class CountryInvalid(Problem):
    """The query has no valid `country`."""

    status = 422
    code = "country_invalid"
    title = "The country is missing or invalid"


@https_fn.on_request(service_account=None if EMULATED else "token@")  # The only account that may sign.
@telemetry.traced
def token(request: Request) -> Response:
    """POST `{audience, mode, jkt?}` by a service that proves itself -> `{custom_token, expires_in}`; see `mstoken`."""
    return _issue(request)


@https_fn.on_request()
@telemetry.traced
@_delivery.allow(users=True, services={"billing"})
def estimate(request: Request, caller: Caller) -> Response:
    """GET `?country=` (ISO 3166-1 alpha-2) -> 200 `{country, days}`, or 422; for users and for Billing."""
    country = request.args.get("country", "")
    if not COUNTRY.fullmatch(country):
        raise CountryInvalid("Send ?country= with two capital letters (ISO 3166-1 alpha-2), for example ?country=CA.")
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
    # These attempts take about two minutes. A delivery that is not done by then is not lost: Billing puts it into the
    # queue again until its end was reported. The pauses are short because in the emulator a task that pauses still
    # counts as running. The emulator runs few tasks at a time, since it starts a process for each.
    retry_config=options.RetryConfig(max_attempts=14, min_backoff_seconds=1, max_backoff_seconds=10, max_doublings=4),
    rate_limits=options.RateLimits(max_concurrent_dispatches=4 if EMULATED else 50),
    timeout_sec=60,
)
def deliver(request: https_fn.CallableRequest[object]) -> str:
    """Carry out the delivery in `{"delivery_id": …}`, and report each step to Billing. Safe to repeat.

    A task without a delivery id, or with an id that Billing does not have, cannot succeed later: it is dropped, with a
    line in the log. Raises `httpx.HTTPError` or `mstoken.errors.MsTokenError` if Billing could not be told; then the
    queue sends the task again.
    """
    with telemetry.request_span("deliver", request.raw_request.headers):
        return _deliver(request.data)


def _deliver(data: object) -> str:
    delivery_id = _delivery_id(data)
    if delivery_id is None:
        _log.error("A task was dropped: it has no valid delivery_id.")
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
    """Return the id of the delivery that a task names, None if it is not an id as Billing makes them.

    The id becomes part of a URL, so its form is checked.
    """
    found = data.get("delivery_id") if isinstance(data, dict) else None
    return found if isinstance(found, str) and DELIVERY_ID.fullmatch(found) else None


def _report(delivery_id: str, status: str) -> str | None:
    """Report a status of a delivery to Billing. Return the delivery's status after that, which may be a later one.

    None: Billing has no delivery of that id. Raises what `deliver` raises.
    """
    answer = _billing().post(f"/deliveries/{delivery_id}/events", json={"status": status})
    if answer.status_code == httpx.codes.NOT_FOUND and _member(answer, "code") == "delivery_not_found":
        return None
    answer.raise_for_status()
    return _member(answer, "status")


def _member(answer: httpx.Response, name: str) -> str:
    """Return a member of the JSON object in an answer, "" if it has none: a 404 may come from another server."""
    try:
        content = answer.json()
    except ValueError:
        return ""
    return str(content.get(name, "")) if isinstance(content, dict) else ""


@cache
def _billing() -> httpx.Client:
    """Return a client that calls Billing as `svc:delivery`.

    It is made for the first task, because firebase-tools imports this file, without any settings, to list the
    functions.
    """
    identity = ServiceIdentity("delivery").prepare()
    url = os.environ.get("BILLING_URL") or "http://127.0.0.1:8003"
    return httpx.Client(base_url=url, auth=identity.to("billing"), timeout=TIMEOUT)
