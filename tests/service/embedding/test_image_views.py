"""Views are made in the threads that decode, and only for somebody who waits."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import InputLimits, InvalidInput, views
from service.embedding import image_views
from service.embedding.image_views import ViewMaker, with_views
from service.errors import DeadlineExceeded
from service.extraction.decoding import SLOW_NS, DecodeCalls
from service.requests.inputs import Kind, RawInput
from tests.models.image_samples import PNG, chunk, rgb
from tests.service.waiting import Changes

SMALL = RawInput(Kind.PIXELS, "a" * 64, rgb(8, 8))
HEADER = chunk(b"IHDR", (7000).to_bytes(4, "big") * 2 + bytes((8, 6, 0, 0, 0)))
LARGE = RawInput(Kind.IMAGE, "b" * 64, PNG + HEADER)


@pytest.fixture
def maker(decoding: DecodeCalls) -> ViewMaker:
    return ViewMaker(decoding, InputLimits())


async def test_no_view_is_made_after_the_deadline(
    maker: ViewMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(image_views, "make_views", lambda raw, *_: made.append(raw))
    late = asyncio.get_running_loop().time()
    ((outcome,),) = await with_views([SMALL], [2], maker, "acme", deadline=late)
    assert isinstance(outcome, DeadlineExceeded)
    assert made == []


async def test_views_of_a_slow_image_hold_up_nobody_elses(
    maker: ViewMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, begun = threading.Event(), Changes()
    loop = asyncio.get_running_loop()
    slow: list[object] = []

    def make_views(raw: Any, count: int, limits: InputLimits) -> list[NDArray[np.uint8]]:
        if isinstance(raw, bytes):
            slow.append(raw)
            loop.call_soon_threadsafe(begun.notify)
            assert held.wait(60)
        return views.make_views(raw, count, limits)

    monkeypatch.setattr(image_views, "make_views", make_views)
    assert LARGE.decoding_ns > SLOW_NS
    first = asyncio.create_task(with_views([LARGE] * 3, [1] * 3, maker, "acme"))
    await begun.until(lambda: bool(slow))
    ((same, view),) = await with_views([SMALL], [1], maker, "bolt")
    assert same is SMALL
    assert isinstance(view, RawInput)
    assert len(slow) == 1
    held.set()
    outcomes = await first
    assert all(isinstance(outcome, InvalidInput) for (outcome,) in outcomes)
