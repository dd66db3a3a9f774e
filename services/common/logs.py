"""The log: one JSON object per line on stdout (Twelve-Factor, XI)."""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from services.common import telemetry

_QUIET = ("httpx", "httpcore", "uvicorn.access")
"""Loggers that write a line with the URL of each request that we send, or repeat what our own request log says."""


def configure(service: str, *, stream: TextIO | None = None) -> None:
    """Write all log records of this process to `stream`, or stdout, as JSON objects. Call it once per process.

    An object has `event`, `level`, `logger`, `time`, `service`, the extra fields of the record, and `request_id` while
    a request is being answered. In a trace, it has `trace_id` and `span_id`. `event` is the name of what happened, or
    the message if the record has no name (`mstoken.log_events`). If it has one, the message is in `message`.
    """

    def add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            _keep_message,
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper("iso", key="time"),
            add_service,
            telemetry.add_trace_ids,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Without the values of local variables, which may be passwords and tokens.
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(formatter)
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


def _keep_message(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Copy the message to `message` if the record has a name: the name takes its place in `event`."""
    if hasattr(event["_record"], "event"):
        event["message"] = event["event"]
    return event
