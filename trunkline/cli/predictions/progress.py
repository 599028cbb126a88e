"""How far `trunkline predict` is."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import MofNCompleteColumn, ProgressColumn, Task
from rich.text import Text

from trunkline.cli.output import Output
from trunkline.errors import TrunklineError


class _TimeLeft(ProgressColumn):
    """The time left at the pace of all that was done so far."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        done = task.completed - float(task.fields["before"])
        if not task.total or done <= 0 or task.elapsed is None:
            return Text("")
        left = task.elapsed * max(0.0, task.total - task.completed) / done
        return Text(f"{timedelta(seconds=round(left))} left")


@contextmanager
def predicting(
    out: Output, count: Callable[[], int | None], *, before: int, shown: bool
) -> Iterator[Callable[[], None]]:
    """Shows a progress bar, if it is to be `shown` and there is a terminal for it.

    Yields what to call for each row.

    `count` gives the number of all rows, None where nobody knows: it is asked for meanwhile.
    `before` rows were done in an earlier run.
    """
    bar = out.progress(MofNCompleteColumn(), _TimeLeft(), transient=True)
    bar.disable |= not shown
    task = bar.add_task("predicting", total=None, completed=before, before=before)

    def total() -> None:
        try:
            bar.update(task, total=count())
        except (TrunklineError, OSError):
            return  # whoever reads the inputs says what is wrong with them

    counting = threading.Thread(target=total, name="predict-count", daemon=True)

    def advance() -> None:
        bar.advance(task)
        # Not before there was an answer: it may ask the server, too.
        if counting.ident is None and not bar.disable:
            counting.start()

    with bar:
        yield advance
