"""The log: one JSON object a line, on stdout (the Twelve-Factor App, XI)."""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

_QUIET = ("httpx", "httpcore", "uvicorn.access")
"""Loggers that write addresses with API keys in them, or what our own request log has already said."""


def configure(service: str, *, stream: TextIO | None = None) -> None:
    """Sends every record of this process to `stream` (stdout if left out) as JSON: `event`, `level`, `time`,
    `service`, the record's own extra fields, and `request_id` while a request is being answered. To be called once, by
    the process's factory.
    """

    def name_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper("iso", key="time"),
            name_service,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Without local variables, which may hold passwords and tokens.
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
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
