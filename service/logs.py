"""Structured logs on standard error: one event a line, with the request's id."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog


def configure_logging(level: str, form: Literal["console", "json"]) -> None:
    """Sets up logging for this process."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # without locals: they are data
        )
    )
    processors: list[Any] = [
        *([] if form == "json" else [_escape]),
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form == "json":
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _escape(_: object, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Escapes what a terminal would obey: a request's path or method could hold it."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
    return event


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Returns a logger whose events name the module they come from."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(module=name)
    return logger
