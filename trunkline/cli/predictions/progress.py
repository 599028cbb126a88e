"""How far `trunkline predict` is."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import MofNCompleteColumn

from trunkline.cli.output import Output
from trunkline.cli.time_left import TimeLeft, TimeLeftColumn
from trunkline.errors import TrunklineError


@contextmanager
def predicting(
    out: Output, count: Callable[[], int | None], *, before: int, shown: bool
) -> Iterator[Callable[[], None]]:
    """Shows a progress bar, if it is to be `shown` and there is a terminal for it.

    Yields what to call for each row.

    `count` gives the number of all rows, None where nobody knows: it is asked for meanwhile.
    `before` rows were done in an earlier run.
    """
    bar = out.progress(MofNCompleteColumn(), TimeLeftColumn(), transient=True)
    bar.disable |= not shown
    left = TimeLeft(bar.get_time())
    task = bar.add_task("predicting", total=None, completed=before, left=left)
    done, total = before, None
    one_at_a_time = threading.Lock()

    def show() -> None:
        if total is not None:
            left.step(bar.get_time(), done - before, 0, total - done)
        bar.update(task, completed=done, total=total)

    def count_all() -> None:
        nonlocal total
        try:
            found = count()
        except (TrunklineError, OSError):
            return  # whoever reads the inputs says what is wrong with them
        with one_at_a_time:
            total = found
            show()  # the next row may be long in coming

    counting = threading.Thread(target=count_all, name="predict-count", daemon=True)

    def advance() -> None:
        nonlocal done
        with one_at_a_time:
            done += 1
            show()
        # Not before there was an answer: it may ask the server, too.
        if counting.ident is None and not bar.disable:
            counting.start()

    with bar:
        yield advance
