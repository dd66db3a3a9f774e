"""The log: one JSON object per line on stdout (Twelve-Factor, XI)."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from pydantic_core import PydanticSerializationError, to_json
from typing_extensions import override

from services.common import telemetry

_QUIET = ("httpx", "httpcore", "uvicorn.access")
"""Loggers that write a line with the URL of each request that we send, or repeat what our own request log says."""


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
"""The attributes that every record may have. All others are facts that were logged."""

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered."""


def configure(service: str, *, stream: TextIO | None = None) -> None:
    """Write all log records of this process to `stream`, or stdout, as JSON objects. Call it once per process."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Looking up what is not in the log takes half of the time of a record (Python, "Logging HOWTO", "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None


class JsonFormatter(logging.Formatter):
    """Makes one JSON object of each record.

    It has `event`, `level`, `logger`, `time`, `service`, the extra fields of the record, and `request_id` while a
    request is being answered. In a trace, it has `trace_id` and `span_id`. `event` is the name of what happened, or the
    message if the record has no name (`mstoken.log_events`). If it has one, the message is in `message`.

    Kept by hand because a protected request writes two records, and libraries take long for one: structlog's formatter
    45 µs of processor time, python-json-logger 14, and this one 5.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    @override
    def format(self, record: logging.LogRecord) -> str:
        attributes = record.__dict__
        message = record.getMessage()
        line: dict[str, Any] = {"event": message}
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        if "event" in attributes:
            line["message"] = message
        line |= {name: value for name, value in attributes.items() if name not in _STANDARD}
        line["level"] = record.levelname.lower()
        line["logger"] = record.name
        line["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
        line["service"] = self._service
        line |= telemetry.trace_ids()
        if record.exc_info:
            # Without the values of local variables, which may be passwords and tokens.
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        try:
            return to_json(line, ensure_ascii=True, inf_nan_mode="strings", fallback=repr).decode()
        except PydanticSerializationError:  # Half of a surrogate pair, which UTF-8 cannot encode.
            return json.dumps(line, default=repr)
