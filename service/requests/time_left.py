"""The time that a request has, said in metadata where a proxy keeps its deadline to itself."""

from __future__ import annotations

import math

from service.errors import InvalidRequest

TIME_LEFT_KEY = "x-seconds-left"
"""Metadata by which a server says when it will not wait any longer."""


def read_time_left(text: str | bytes | None) -> float | None:
    """Reads the seconds that a request has left; None if nothing is said.

    Raises:
        InvalidRequest: it is no number of seconds.
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidRequest.at(
            TIME_LEFT_KEY, "must be {limit}, is {value!r}", "seconds, 0 or more", text
        )
    return seconds
