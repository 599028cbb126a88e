"""How long the streams of an upload are: only the end of one acknowledges its rows."""

from collections.abc import Sequence

from trunkline.rows.upload_rows import Item

_SECONDS = 2.0
_KNOWN_WORK = 0.05
"""What a row takes that is sent as a digest, in rows that are embedded."""


class StreamLength:
    """How much a stream has, so that its reply comes after about two seconds.

    Longer ones would keep a person waiting for a sign, and more would be sent again after a break;
    shorter ones would let the server wait for the network between any two of them.
    """

    def __init__(self) -> None:
        self._work = 0.0

    def cut(self, messages: list[list[Item]]) -> list[list[Item]]:
        """Returns the first messages, as many as a stream has; at least one."""
        work, count = 0.0, 0
        for message in messages:
            work += _work_of(message)
            if count and work > self._work:
                break
            count += 1
        return messages[:count]

    def took(self, messages: list[list[Item]], seconds: float) -> None:
        """Learns how long a stream took; the next has twice as much at most."""
        work = sum(map(_work_of, messages))
        self._work = min(2 * work, work * _SECONDS / max(seconds, 1e-9))


def _work_of(message: Sequence[Item]) -> float:
    return sum(_KNOWN_WORK if item.known else 1.0 for item in message)
