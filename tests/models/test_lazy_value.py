"""Values made at their first use."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.errors import BackboneError
from models.lazy_value import Lazy


class Thing:
    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def test_lazy_value_is_made_once_by_all_who_come_first(threads: ThreadPoolExecutor) -> None:
    made: list[Thing] = []
    barrier = threading.Barrier(8)

    def make() -> Thing:
        made.append(Thing())
        return made[-1]

    lazy = Lazy(make)

    def ask(_: int) -> Thing:
        barrier.wait()
        return lazy.get()

    assert {id(thing) for thing in threads.map(ask, range(8))} == {id(made[0])}
    assert len(made) == 1


def test_lazy_value_that_failed_is_made_when_it_is_asked_for_again() -> None:
    outcomes: list[Thing | None] = [None, Thing()]

    def make() -> Thing:
        thing = outcomes.pop(0)
        if thing is None:
            raise BackboneError("not yet")
        return thing

    lazy = Lazy(make)
    with pytest.raises(BackboneError, match="not yet"):
        lazy.get()
    assert isinstance(lazy.get(), Thing)


def test_closed_lazy_value_is_closed_and_made_no_more() -> None:
    lazy, unused = Lazy(Thing), Lazy(Thing)
    thing = lazy.get()
    for one in (lazy, unused):
        one.close()
        one.close()
        with pytest.raises(BackboneError, match="closed"):
            one.get()
    assert thing.closed
