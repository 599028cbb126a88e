"""Structured logs on standard error: one event a line, with the request's id."""

from __future__ import annotations

import logging
import math
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import structlog

_KEY = re.compile("tlk_[0-9A-Za-z]{8,}")
"""What may be a caller's key, or most of one."""


def configure_logging(
    level: str, form: Literal["console", "json"], *, strangers: Seldom | None = None
) -> None:
    """Sets up logging for this process.

    Args:
        strangers: says when to log what whoever reaches a port causes; else once a second.
    """
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # without locals: they are data
        )
    )
    processors: list[Any] = [
        _FewOfStrangers(strangers or Seldom()),
        _hide,
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
        logger_factory=structlog.WriteLoggerFactory(
            sys.stderr
        ),  # a line at once, whoever else writes
        cache_logger_on_first_use=False,
    )


def hide_keys(text: str) -> str:
    """Returns a text without the keys in it: people give them where a name is asked for."""
    return _KEY.sub("tlk_…", text) if "tlk_" in text else text


class _FewOfStrangers:
    """Leaves out most of what is logged with `stranger=True`, which whoever reaches a port causes.

    Else that would fill the disk. What is kept says how many were left out before it.
    """

    def __init__(self, seldom: Seldom) -> None:
        self._seldom = seldom

    def __call__(self, _: object, __: str, event: dict[str, Any]) -> dict[str, Any]:
        if event.pop("stranger", False):
            left_out = self._seldom()
            if left_out is None:
                raise structlog.DropEvent
            if left_out:
                event["left_out"] = left_out
        return event


def _hide(_: object, __: str, event: dict[str, Any]) -> dict[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = hide_keys(value)
    return event


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


class Seldom:
    """Says when an event that may come thousands of times a second is to be logged again."""

    def __init__(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next = -math.inf
        self._left_out = 0

    def __call__(self) -> int | None:
        """Returns how many were left out since the last that was logged; None to leave this out."""
        now = self._clock()
        if now < self._next:
            self._left_out += 1
            return None
        self._next = now + self._seconds
        left_out, self._left_out = self._left_out, 0
        return left_out
