"""The time that an upload takes yet, against servers of a known pace and a clock that is turned."""

from collections.abc import Sequence

import pytest

from trunkline import UploadProgress
from trunkline.cli.time_left import TimeLeft, to_come

LOOKED_UP = 5000


def estimates(
    rows: Sequence[bool], *, embedding: float, knowing: float, first: float = 0.0
) -> list[tuple[float, float, float]]:
    """Uploads these rows, True for those to be embedded, in steps of about two seconds.

    A row takes `embedding` or `knowing` seconds, and the first step `first` more. Returns, for each
    step and for a moment after it, which share of the time is over, what is left, and what was said
    to be left.
    """
    missing = sum(rows) / len(rows) if len(rows) > LOOKED_UP else None
    seconds = [embedding if row else knowing for row in rows]
    end = first + sum(seconds)
    left, now, done = TimeLeft(0.0), first, 0
    found = []
    while done < len(rows):
        part_end = min(len(rows), done - done % LOOKED_UP + LOOKED_UP)
        step = 128
        while done + step < part_end and sum(seconds[done : done + step + 128]) <= 2.0:
            step += 128
        step = min(step, part_end - done)
        now, done = now + sum(seconds[done : done + step]), done + step
        waiting = rows[done:part_end]
        known = done - sum(rows[:done])
        progress = UploadProgress(done, known, 0, len(waiting), len(waiting) - sum(waiting))
        left.step(now, done - known, known, *to_come(progress, len(rows), missing))
        for at in (now, now + min(1.0, (end - now) / 2)):
            said = left.seconds(at)
            assert said is not None
            found.append((at / end, end - at, said))
    return found


INTERLEAVED = [row % 3 == 0 for row in range(4000)]


@pytest.mark.parametrize(
    ("rows", "embedding", "knowing"),
    [
        ([True] * 1000, 0.03, 0.0),
        ([True] * 20_000, 0.005, 0.0),
        ([False] * 30_000, 0.03, 0.0005),
        (INTERLEAVED, 0.03, 0.0005),
        ([False] * 3000 + [True] * 1500, 0.03, 0.0002),
        ([True] * 1500 + [False] * 3000, 0.03, 0.0002),
        ([True] * 5000 + [False] * 45_000, 0.03, 0.0003),
        ([False] * 45_000 + [True] * 5000, 0.03, 0.0002),
        ([True] * 20_000 + [False] * 20_000, 0.004, 0.0008),
    ],
)
def test_after_a_fifth_of_the_work_the_time_left_is_known_within_a_factor_of_two(
    rows: list[bool], embedding: float, knowing: float
) -> None:
    found = estimates(rows, embedding=embedding, knowing=knowing)
    judged = [row for row in found if row[0] >= 0.2 and row[1] > 1]
    assert judged
    for _, truth, said in judged:
        assert truth / 2 <= said <= truth * 2


def test_a_slow_first_step_is_soon_outweighed() -> None:
    found = estimates([True] * 4000, embedding=0.01, knowing=0.0, first=2.0)
    for _, truth, said in (row for row in found if row[0] >= 0.2 and row[1] > 1):
        assert truth / 2 <= said <= truth * 2


def test_nothing_is_said_before_the_first_acknowledgement() -> None:
    assert TimeLeft(0.0).seconds(5.0) is None
