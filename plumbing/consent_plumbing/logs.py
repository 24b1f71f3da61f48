"""Structured logs: one JSON object a line on stderr, without secrets.

Bind what holds for a request or a task with `structlog.contextvars.bound_contextvars(...)`;
every line written inside carries it.
"""

from __future__ import annotations

import logging
import re
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRET_WORDS = frozenset({"token", "password", "key", "authorization", "secret", "credentials"})
_WORDS = re.compile(r"[a-z]+|[A-Z][a-z]*")
_REDACTED = "***"


def configure(level: str, service: str) -> None:
    """Send every line from `level` (debug, info, warning, error) on to stderr, with the service's name.

    Raises ValueError for another level. Lines of libraries that use `logging` go the same way.
    """
    if level not in LEVELS:
        raise ValueError(f"CONSENT_LOG_LEVEL is {level!r}; expected one of {', '.join(LEVELS)}")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(handlers=[handler], level=max(LEVELS[level], logging.WARNING), force=True)
    structlog.contextvars.bind_contextvars(service=service)


def redact(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    """Replace the values of keys that name a secret (`apiKey`, `db_password`, …), at any depth of dicts."""
    for name, value in line.items():
        if _names_secret(name):
            line[name] = _REDACTED
        elif isinstance(value, dict):
            line[name] = redact(logger, method, dict(value))
    return line


def _names_secret(name: str) -> bool:
    return any(word.lower() in _SECRET_WORDS for word in _WORDS.findall(name))
