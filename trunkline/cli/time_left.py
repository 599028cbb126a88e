"""How long rows will take yet. Those that are embedded cost far more than those that are known."""

import math
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from trunkline.values.outcomes import UploadProgress

T = TypeVar("T")

_KNOWN_COST = 0.05
"""What a known row is taken to cost, in rows that are embedded, where both cannot be told apart."""
_KNOWN_SECONDS = 0.0005
"""What a known row is taken to cost before there was one."""
_UNLIKE = 0.01
"""How far steps must be from one and the same mixture for both costs to be learned."""


class TimeLeft:
    """Learns from each step what the two kinds of rows take; times are in seconds.

    A step takes (rows embedded * cost) + (rows known * other cost), which is fitted to all steps by
    least squares: long steps weigh more, so that a slow start matters little.
    """

    def __init__(self, now: float) -> None:
        self._at = now
        self._embedded = self._known = 0
        self._ee = self._ek = self._kk = self._es = self._ks = 0.0
        self._left: float | None = None

    def step(
        self, now: float, embedded: int, known: int, to_embed: float, to_know: float = 0.0
    ) -> None:
        """Learns how many rows of each kind are done by now, and how many are to come."""
        more, others, seconds = embedded - self._embedded, known - self._known, now - self._at
        self._at, self._embedded, self._known = now, embedded, known
        self._ee += more * more
        self._ek += more * others
        self._kk += others * others
        self._es += more * seconds
        self._ks += others * seconds
        if self._ee + self._kk:
            embedding, knowing = self._costs()
            self._left = to_embed * embedding + to_know * knowing

    def seconds(self, now: float) -> float | None:
        """Returns the time left, which runs between steps, too; None before the first."""
        if self._left is None:
            return None
        return max(self._left - (now - self._at), self._left / 2)

    def _costs(self) -> tuple[float, float]:
        """Returns the seconds for a row that is embedded, and for one that is known."""
        determinant = self._ee * self._kk - self._ek * self._ek
        if determinant > _UNLIKE * self._ee * self._kk:
            embedding = (self._es * self._kk - self._ks * self._ek) / determinant
            knowing = (self._ks * self._ee - self._es * self._ek) / determinant
            if embedding >= 0 and knowing >= 0:
                return embedding, knowing
        work = self._ee + 2 * _KNOWN_COST * self._ek + _KNOWN_COST**2 * self._kk
        embedding = (self._es + _KNOWN_COST * self._ks) / work
        seen = self._kk > 0
        return embedding, _KNOWN_COST * embedding if seen else min(embedding, _KNOWN_SECONDS)


def to_come(now: UploadProgress, rows: int, missing: float | None) -> tuple[float, float]:
    """Returns how many of the rows will be embedded, and how many are known, from now on.

    `missing` is the share of all that is to be embedded; if it is None, that of those looked up.
    """
    looked_up = now.rows + now.waiting
    embedded = looked_up - now.known - now.waiting_known
    rest = rows - looked_up
    expected = rows * (embedded / looked_up if missing is None else missing)
    more = min(max(expected - embedded, 0), rest)
    return now.waiting - now.waiting_known + more, now.waiting_known + rest - more


class TimeLeftColumn(ProgressColumn):
    """Shows what the task's field `left`, a `TimeLeft`, says."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        seconds = None if task.finished else task.fields["left"].seconds(task.get_time())
        return Text("" if seconds is None else f"{_clock(seconds)} left")


def tracked(bar: Progress, rows: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Yields the rows, all of one kind, and shows how many there were."""
    left = TimeLeft(bar.get_time())
    task = bar.add_task(description, total=total, left=left)
    for done, row in enumerate(rows, 1):
        left.step(bar.get_time(), done, 0, total - done)
        bar.update(task, completed=done)
        yield row


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
