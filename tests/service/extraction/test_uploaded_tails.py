"""Files that servers have uploaded: the most recently used ones, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from models import InputLimits
from models.tails import tail_fingerprint
from service.access.caller import ANYONE
from service.errors import InvalidRequest, NotFound, PreconditionFailed, QueueFull
from service.extraction.uploaded_tails import UploadedTails
from service.handlers.remote_tails import MAX_CHUNK_BYTES, TailExtraction
from service.requests.call import Call
from tests.service.embedding.resolvers import made
from tests.service.hand_extractor import HandExtractor
from tests.service.tiny_backbone import tail_file
from trunkline.v1 import common_pb2, tails_pb2

CALL = Call("HoldTail", "grpc", "acme", None, caller=ANYONE)


def receive(tails: UploadedTails, name: str, *chunks: bytes) -> None:
    with tails.receive() as upload:
        for chunk in chunks:
            upload.add(chunk)
    tails.keep(name, upload.data())


async def test_file_comes_back_as_it_was_sent() -> None:
    tails = UploadedTails(100)
    receive(tails, "a", b"one", b"two")
    assert await tails.read("a") == b"onetwo"


async def test_unknown_file_is_not_found_by_field() -> None:
    with pytest.raises(NotFound) as caught:
        await UploadedTails(100).read("a")
    assert (caught.value.field, caught.value.value) == ("tail", "a")


async def test_least_recently_used_file_makes_room() -> None:
    tails = UploadedTails(10)
    for name in "ab":
        receive(tails, name, b"12345")
    await tails.read("a")
    receive(tails, "c", b"12345")
    assert await tails.read("a") == await tails.read("c") == b"12345"
    with pytest.raises(NotFound):
        await tails.read("b")


async def test_file_sent_twice_takes_its_room_once() -> None:
    tails = UploadedTails(10)
    for _ in range(5):
        receive(tails, "a", b"12345")
    receive(tails, "b", b"12345")
    assert await tails.read("a") == b"12345"


def test_file_larger_than_all_the_room_is_refused_as_soon_as_that_is_clear() -> None:
    tails = UploadedTails(10)
    with tails.receive() as upload:
        upload.add(b"123456")
        with pytest.raises(PreconditionFailed) as caught:
            upload.add(b"12345")
    assert (caught.value.field, caught.value.limit) == ("tail", 10)


async def test_files_on_their_way_count_and_those_that_never_arrive_leave_nothing() -> None:
    tails = UploadedTails(10)
    with tails.receive() as one, tails.receive() as two:
        one.add(b"123456")
        with pytest.raises(QueueFull) as caught:
            two.add(b"12345")
        error = caught.value
        assert (error.limit, error.value, error.retry_after) == (10, 11, 1.0)
        two.add(b"1234")
    receive(tails, "a", b"1234567890")
    assert len(await tails.read("a")) == 10


def extraction(held: UploadedTails) -> TailExtraction:
    extractor: Any = HandExtractor()
    return TailExtraction(extractor, made(extractor), held, InputLimits(), 10)


async def hold(held: UploadedTails, data: bytes, size: int) -> None:
    """Sends a file in chunks of a size, as a server does."""
    service = extraction(held)

    async def stream() -> AsyncIterator[tails_pb2.HoldTailRequest]:
        for start in range(0, len(data), size):
            yield tails_pb2.HoldTailRequest(
                backbone="tiny/text",
                fingerprint=tail_fingerprint(data),
                chunk=data[start : start + size],
            )

    await service.hold_tail(stream(), CALL)


async def test_chunk_beyond_its_bound_is_refused_and_leaves_nothing() -> None:
    data = tail_file(1, extra=2 * MAX_CHUNK_BYTES // 8)
    held = UploadedTails(len(data))
    with pytest.raises(InvalidRequest) as caught:
        await hold(held, data, MAX_CHUNK_BYTES + 1)
    assert (caught.value.field, caught.value.limit) == ("chunk", MAX_CHUNK_BYTES)
    assert caught.value.value == MAX_CHUNK_BYTES + 1
    with pytest.raises(NotFound):
        await held.read(tail_fingerprint(data))
    await hold(held, data, MAX_CHUNK_BYTES)
    assert await held.read(tail_fingerprint(data)) == data


def with_file(tail: str, data: bytes) -> tails_pb2.EmbedWithTailRequest:
    return tails_pb2.EmbedWithTailRequest(
        tenant="tenants/acme",
        backbone="tiny/text",
        tail=tail,
        inputs=[common_pb2.Input(text="a")],
        file=data,
    )


async def test_file_that_comes_with_a_request_is_kept() -> None:
    data = tail_file(1)
    held = UploadedTails(len(data))
    name = tail_fingerprint(data)
    reply = await extraction(held).embed_with_tail(with_file(name, data), CALL)
    assert not reply.errors
    assert await held.read(name) == data


async def test_file_of_another_tail_is_refused_and_leaves_nothing() -> None:
    data = tail_file(1)
    held = UploadedTails(len(data))
    with pytest.raises(InvalidRequest, match="must be that of the file") as caught:
        await extraction(held).embed_with_tail(with_file("0" * 64, data), CALL)
    assert (caught.value.field, caught.value.limit) == ("tail", tail_fingerprint(data))
    for name in ("0" * 64, tail_fingerprint(data)):
        with pytest.raises(NotFound):
            await held.read(name)


async def test_file_that_comes_with_a_request_and_has_no_room_is_refused() -> None:
    data = tail_file(1)
    request, held = with_file(tail_fingerprint(data), data), UploadedTails(len(data) - 1)
    with pytest.raises(PreconditionFailed) as caught:
        await extraction(held).embed_with_tail(request, CALL)
    assert (caught.value.field, caught.value.limit) == ("tail", len(data) - 1)
