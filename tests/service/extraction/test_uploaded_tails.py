"""Files that servers have handed over: the most recently used ones, in bounded memory."""

from __future__ import annotations

import pytest

from service.errors import NotFound, PreconditionFailed, QueueFull
from service.extraction.uploaded_tails import UploadedTails


def receive(held: UploadedTails, name: str, *chunks: bytes) -> None:
    with held.receive() as upload:
        for chunk in chunks:
            upload.add(chunk)
    held.keep(name, upload.data())


async def test_file_comes_back_as_it_was_sent() -> None:
    held = UploadedTails(100)
    receive(held, "a", b"one", b"two")
    assert await held.read("a") == b"onetwo"


async def test_unknown_file_is_not_found_by_field() -> None:
    with pytest.raises(NotFound) as caught:
        await UploadedTails(100).read("a")
    assert (caught.value.field, caught.value.value) == ("tail", "a")


async def test_least_recently_used_file_makes_room() -> None:
    held = UploadedTails(10)
    for name in "ab":
        receive(held, name, b"12345")
    await held.read("a")
    receive(held, "c", b"12345")
    assert await held.read("a") == await held.read("c") == b"12345"
    with pytest.raises(NotFound):
        await held.read("b")


async def test_file_sent_twice_takes_its_room_once() -> None:
    held = UploadedTails(10)
    for _ in range(5):
        receive(held, "a", b"12345")
    receive(held, "b", b"12345")
    assert await held.read("a") == b"12345"


def test_file_larger_than_all_the_room_is_refused_as_soon_as_that_is_clear() -> None:
    held = UploadedTails(10)
    with held.receive() as upload:
        upload.add(b"123456")
        with pytest.raises(PreconditionFailed) as caught:
            upload.add(b"12345")
    assert (caught.value.field, caught.value.limit) == ("tail", 10)


async def test_files_on_their_way_count_and_those_that_never_arrive_leave_nothing() -> None:
    held = UploadedTails(10)
    with held.receive() as one, held.receive() as two:
        one.add(b"123456")
        with pytest.raises(QueueFull) as caught:
            two.add(b"12345")
        error = caught.value
        assert (error.limit, error.value, error.retry_after) == (10, 11, 1.0)
        two.add(b"1234")
    receive(held, "a", b"1234567890")
    assert len(await held.read("a")) == 10
