"""Structured logs: one event per line, ids only. Field names live here.

No mailbox address, token or password is ever a field; `issue`, `n`, `claim`, `worker` and `shard` are enough to find
the row. Severity: warning = we coped, error = someone must look, critical = an invariant is broken.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_ADDRESS = re.compile(r"(?<![^\s<>\"'(),:;])[^\s<>\"'(),:;]+(?:'[^\s<>\"'(),:;]+)*(?:@|%40|=40)[^\s<>\"'(),:;]+")
_TOKEN = re.compile(r"(?<=/[uvmp]/)[A-Za-z0-9_-]{20,}|(?<=/confirm/)[A-Za-z0-9_-]{20,}|(?<=://)[^/\s@]*:[^/\s@]*(?=@)")


def scrub(text: str) -> str:
    """Replace what looks like an address, a token in one of our paths or a password in a URL: the last net."""
    return _ADDRESS.sub("[address]", _TOKEN.sub("[secret]", text))


def _scrub_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and key not in ("level", "timestamp", "logger"):
            event[key] = scrub(value)
    return event


def configure(log_format: str, level: str) -> None:
    """Set up logging of this process to stderr; libraries' records take the same way, scrubbed alike."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _scrub_event,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=32)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn.access", "aiosmtplib", "dramatiq"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def logger(room: str) -> structlog.stdlib.BoundLogger:
    """The logger of one room, such as `dispatch.send`."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(room)
    return bound
