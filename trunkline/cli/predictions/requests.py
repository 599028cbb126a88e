"""Requests for predictions: a few under way at a time, answered in the order of the inputs."""

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from trunkline.clients.client import Client
from trunkline.datasets import FileInput
from trunkline.rows.chunking import MAX_MESSAGE_ROWS, split
from trunkline.values.outcomes import Prediction, RowFailure

P = TypeVar("P")
A = TypeVar("A")

Outcome = Prediction | RowFailure

UNDER_WAY = 3
"""How many requests are read, sent and not yet printed at most."""


def predicted(
    client: Client,
    head: str,
    inputs: Iterable[FileInput],
    *,
    top_k: int,
    version: int | None,
    level: float | None = None,
    average_views: int | None = None,
) -> Generator[tuple[FileInput, Outcome], None, None]:
    """Predicts request by request; yields each input with its outcome, in order.

    None of them is captured: they are measured on, and no traffic.
    """
    ask = partial(
        client.predict,
        head,
        top_k=top_k,
        version=version,
        conformal_level=level,
        average_views=average_views,
        capture="never",
    )
    return outcomes_of(ask, split(inputs, max_rows=MAX_MESSAGE_ROWS))


def outcomes_of(
    ask: Callable[[list[FileInput]], list[Outcome]], parts: Iterable[list[FileInput]]
) -> Generator[tuple[FileInput, Outcome], None, None]:
    """Asks for part after part; yields each input with its outcome, in order."""
    with closing(answered(ask, parts)) as answers:
        for part, outcomes in answers:
            yield from zip(part, outcomes, strict=True)


def answered(ask: Callable[[P], A], parts: Iterable[P]) -> Generator[tuple[P, A], None, None]:
    """Asks for each part in a thread; yields it with its answer, in the order of the parts.

    `parts` are read in a thread of their own, so that answers come while it waits for more; at
    most `UNDER_WAY` parts ahead of what was taken from here. The first is asked for alone: where
    there is no server or no head, that is found out once. What reading or asking raises is raised
    in its turn.
    """
    room = threading.Semaphore(1)
    asked: SimpleQueue[tuple[P, Future[A]] | BaseException | None] = SimpleQueue()
    pool = ThreadPoolExecutor(UNDER_WAY)

    def read() -> None:
        waiting = iter(parts)
        try:
            while room.acquire() and (part := next(waiting, None)) is not None:
                asked.put((part, pool.submit(ask, part)))
            asked.put(None)
        except BaseException as error:  # it is raised where the answers are taken
            asked.put(error)

    # A daemon: it may wait for an input that never comes.
    threading.Thread(target=read, name="predict-inputs", daemon=True).start()
    more = UNDER_WAY
    try:
        while (found := asked.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            part, answer = found
            yield part, answer.result()
            room.release(more)
            more = 1
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        room.release()  # the reader finds the pool shut, and ends
