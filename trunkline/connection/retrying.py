"""When to try again, and how long to wait before it.

Waits grow exponentially, with jitter so that clients which failed together do not come
back together; a server that names a time itself (google.rpc.RetryInfo) is believed.
"""

import logging
import random
import time

from trunkline.errors import DeadlineExceeded, ResourceExhausted, TrunklineError, Unavailable

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 3.0
_MOST_BREAKS = 6

_LAST_SECONDS = 0.1
"""Before a deadline: a call that is lost then was most likely ended by it, at the other end."""

logger = logging.getLogger("trunkline")


def backoff(failures: int, retry_after: float | None) -> float:
    """Returns the seconds to wait after this many failures in a row (counted from 1)."""
    if retry_after is not None:
        return retry_after * random.uniform(1.0, 1.2)
    longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(failures - 1, 16))
    return longest * random.uniform(0.5, 1.0)


class Attempts:
    """One call's deadline, and what is left of it. `timeout` is in seconds."""

    def __init__(self, timeout: float, *, idempotent: bool) -> None:
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        self.idempotent = idempotent
        self._failures = 0
        self._last: Unavailable | None = None

    @property
    def remaining(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._end - time.monotonic())

    def pause(self, error: TrunklineError) -> float:
        """Returns the seconds before the next attempt; raises `error` where there must be none.

        A call that may have taken effect is repeated only if it can do no harm; one that the server
        refused with a time to come back has taken none. Where the deadline passes in a later
        attempt, whether or not it has reached a server, the error says why there was more than one.
        What is lost at the deadline was late, whatever the connection says of it.
        """
        if isinstance(error, DeadlineExceeded) and self._last:
            raise DeadlineExceeded(
                f"{error.message}; before that, {self._last.message}",
                reason=error.reason,
                field=error.field,
                limit=error.limit,
                value=error.value,
                request_id=error.request_id,
            ) from error
        lost = isinstance(error, Unavailable) and error.retry_after is None
        if lost and not self._last and self.remaining < _LAST_SECONDS < self._timeout:
            raise DeadlineExceeded(
                f"no answer within {self._timeout:g} s; give it more time (timeout): "
                f"{error.message}",
                field="timeout",
                limit=f"{self._timeout:g}",
            ) from error
        if not isinstance(error, Unavailable) or (
            not self.idempotent and error.retry_after is None
        ):
            raise error
        self._failures += 1
        self._last = error
        seconds = backoff(self._failures, error.retry_after)
        if seconds >= self.remaining:
            raise error
        # Said once: the error of later attempts is mostly the same.
        level = logging.INFO if self._failures == 1 else logging.DEBUG
        logger.log(level, "%s; trying again for %.0f s", error, self.remaining)
        return seconds


class StreamRetries:
    """Bounds how often a stream may break in a row, with backoff in between."""

    def __init__(self) -> None:
        self._breaks = 0

    def reset(self) -> None:
        """Forgets the breaks so far, because the stream has moved on."""
        self._breaks = 0

    def pause(self, error: TrunklineError) -> float:
        """Returns the seconds to wait before the next stream; raises `error` at the end of it."""
        full = isinstance(error, ResourceExhausted) and error.retry_after is not None
        self._breaks += 1
        if not (full or isinstance(error, Unavailable)) or self._breaks > _MOST_BREAKS:
            raise error
        seconds = backoff(self._breaks, error.retry_after)
        logger.info("%s; going on in %.1f s", error, seconds)
        return seconds
