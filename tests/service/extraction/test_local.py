"""Backbones in this process: what becomes of rows when they are bad, many, or unlucky."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import generate_latest

from models import InvalidInput, Modality, PreparedInput
from service.concurrency.demand import Demand
from service.config import ExtractorSettings, extractor_settings, load_settings
from service.errors import (
    BackboneFailed,
    InvalidRequest,
    PreconditionFailed,
    QueueFull,
    Unavailable,
)
from service.extraction import Extracted, backbone_runner, health, local
from service.extraction.batching import Batcher
from service.extraction.decoding import DECODE_ROWS, SLOW_NS
from service.extraction.local import LocalExtractor
from service.metrics import Metrics
from service.requests.inputs import Kind, RawInput
from tests.service.tiny_backbone import TinyBackbone, info, text_input, vector_of
from tests.service.waiting import Changes
from trunkline.digest import image_digest, text_digest


class Site:
    """A started extractor on one tiny backbone, and the changes of its readiness."""

    def __init__(self, settings: ExtractorSettings, backbone: TinyBackbone) -> None:
        self.backbone = backbone
        self.metrics = Metrics(5)
        self.extractor = LocalExtractor(settings, self.metrics)
        self.readiness: list[bool] = []
        self.changes = Changes()

    def on_readiness(self, ready: bool) -> None:
        self.readiness.append(ready)
        self.changes.notify()

    async def embed(self, *texts: str, tenant: str = "acme") -> list[Extracted | Exception]:
        rows = [text_input(text) for text in texts]
        return await self.extractor.embed(tenant, info(), rows)


SiteMaker = Callable[..., Any]
Preprocess = Callable[[Any], PreparedInput]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> SiteMaker:
    @asynccontextmanager
    async def make(**values: Any) -> AsyncIterator[Site]:
        monkeypatch.setattr(extractor_settings, "check_backbones", lambda *_: None)
        settings = load_settings(
            ExtractorSettings, **{"backbone": "tiny/text", "passes": 1, **values}
        )
        backbone = TinyBackbone()
        monkeypatch.setattr(local, "load_backbone", lambda name, **_: backbone)
        monkeypatch.setattr(health, "FIRST_PROBE_SECONDS", 0.0)
        made = Site(settings, backbone)
        await made.extractor.start(made.on_readiness)
        loop = asyncio.get_running_loop()

        def on_batch() -> None:
            loop.call_soon_threadsafe(made.changes.notify)

        backbone.on_batch = on_batch
        try:
            yield made
        finally:
            backbone.open.set()
            await made.extractor.close()
            assert backbone.closed

    return make


def vector(outcome: Extracted | Exception) -> list[float]:
    assert isinstance(outcome, Extracted), outcome
    values: list[float] = outcome.vector.tolist()
    return values


async def test_backbone_is_warmed_up_before_it_is_ready(site: SiteMaker) -> None:
    async with site() as s:
        assert s.backbone.warm_ups == 1
        assert s.readiness[-1] is True
        (listed,) = s.extractor.backbones()
        assert (listed.name, listed.ready) == ("tiny/text", True)


async def test_rows_come_back_in_order(site: SiteMaker) -> None:
    async with site() as s:
        texts = [f"text {i}" for i in range(50)]
        outcomes = await s.embed(*texts)
        assert [vector(outcome) for outcome in outcomes] == [vector_of(t).tolist() for t in texts]


async def test_bad_input_fails_its_row_alone_and_joins_no_batch(site: SiteMaker) -> None:
    async with site() as s:
        good, bad, other = await s.embed("a", "bad", "b")
        assert [vector(good), vector(other)] == [vector_of("a").tolist(), vector_of("b").tolist()]
        assert isinstance(bad, InvalidInput)
        assert "bad" not in [text for batch in s.backbone.batches for text in batch]


async def test_input_of_another_modality_fails_its_row_alone(site: SiteMaker) -> None:
    async with site() as s:
        image = RawInput(Kind.IMAGE, image_digest(b"x"), b"x")
        outcomes = await s.extractor.embed("acme", info(), [image, text_input("a")])
        assert isinstance(outcomes[0], InvalidRequest)
        assert (outcomes[0].limit, outcomes[0].value) == (Modality.TEXT, Kind.IMAGE)
        assert vector(outcomes[1]) == vector_of("a").tolist()


async def test_unknown_backbone_is_refused_by_name(site: SiteMaker) -> None:
    async with site() as s:
        with pytest.raises(PreconditionFailed, match="nonesuch") as caught:
            await s.extractor.embed("acme", info("nonesuch"), [text_input("a")])
        assert caught.value.limit == "tiny/text"


async def test_row_that_makes_the_backbone_raise_costs_itself_alone(site: SiteMaker) -> None:
    async with site() as s:
        s.backbone.open.clear()
        rows = asyncio.create_task(s.embed("a", "poison", "b", "c"))
        await s.changes.until(lambda: len(s.backbone.batches) == 1)
        s.backbone.open.set()
        a, poison, *others = await rows
        assert isinstance(poison, BackboneFailed)
        assert "secret" not in str(poison)
        assert vector(a) == vector_of("a").tolist()
        assert [vector(other) for other in others] == [vector_of(t).tolist() for t in "bc"]
        assert s.extractor.ready


async def test_readiness_follows_the_last_forward_pass_and_comes_back_by_itself(
    site: SiteMaker,
) -> None:
    async with site() as s:
        for times in (1, 2):
            s.backbone.steps = [RuntimeError("out of memory")]
            (outcome,) = await s.embed("a")
            assert isinstance(outcome, BackboneFailed)
            await s.changes.until(lambda times=times: s.readiness[1:] == [False, True] * times)
            assert s.backbone.warm_ups == 1 + times
            assert s.extractor.ready
        (again,) = await s.embed("a")
        assert vector(again) == vector_of("a").tolist()


async def test_broken_backbone_stays_unready_and_is_still_answered(site: SiteMaker) -> None:
    async with site() as s:
        s.backbone.broken = True
        s.backbone.steps = [RuntimeError("x"), RuntimeError("y")]
        for _ in range(2):
            (outcome,) = await s.embed("a")
            assert isinstance(outcome, BackboneFailed)
        assert not s.extractor.ready
        assert not s.extractor.backbones()[0].ready
        metrics = generate_latest(s.metrics.registry).decode()
        assert 'trunkline_backbone_ready{backbone="tiny/text"} 0.0' in metrics
        assert 'trunkline_backbone_failures_total{backbone="tiny/text"} 2.0' in metrics


async def test_pass_that_hangs_makes_unready_and_refuses_until_it_ends_and_no_longer(
    site: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    timers: list[tuple[asyncio.TimerHandle, Callable[[], object]]] = []

    def watched(delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        timer = call_later(delay, callback, *args)
        if delay == 1234.5:
            timers.append((timer, partial(callback, *args)))
        return timer

    def let_time_pass() -> None:
        for timer, callback in timers:
            if not timer.cancelled():
                callback()

    monkeypatch.setattr(backbone_runner, "STUCK_SECONDS", 1234.5)
    monkeypatch.setattr(loop, "call_later", watched)
    async with site(passes=1) as s:
        s.backbone.open.clear()
        held = asyncio.create_task(s.embed("a"))
        await s.changes.until(lambda: bool(s.backbone.batches))
        assert s.extractor.ready
        let_time_pass()
        assert not s.extractor.ready
        with pytest.raises(Unavailable, match="forward passes on cpu hang") as caught:
            await s.embed("b")
        assert (caught.value.field, caught.value.retry_after) == ("backbone", 5.0)
        s.backbone.open.set()
        assert vector((await held)[0]) == vector_of("a").tolist()
        assert s.extractor.ready
        let_time_pass()
        assert s.extractor.ready
        assert s.readiness[-3:] == [True, False, True]


async def test_rows_that_wait_for_a_pass_are_decoded_for_a_few_batches_only(
    site: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(max_batch_rows=4, decode_threads=1) as s:
        loop = asyncio.get_running_loop()
        preprocess: Preprocess = s.backbone.preprocess
        wait_for_room = Batcher.wait_for_room
        decoded = held_back = 0

        def counted(raw: Any) -> PreparedInput:
            nonlocal decoded
            decoded += 1
            loop.call_soon_threadsafe(s.changes.notify)
            return preprocess(raw)

        async def noticed(batcher: Batcher[Any, Any], rows: int) -> None:
            nonlocal held_back
            held_back += 1
            s.changes.notify()
            await wait_for_room(batcher, rows)
            held_back -= 1

        monkeypatch.setattr(s.backbone, "preprocess", counted)
        monkeypatch.setattr(Batcher, "wait_for_room", noticed)
        s.backbone.open.clear()
        texts = [f"text {i}" for i in range(1000)]
        rows = asyncio.create_task(s.embed(*texts))
        await s.changes.until(lambda: held_back > 0 or decoded == len(texts))
        # Beside those that wait: the pass, a batch on its way to the queue, and one just decoded.
        waiting = backbone_runner.DECODED_BATCHES * 4
        assert waiting <= decoded <= waiting + 4 + 2 * DECODE_ROWS
        s.backbone.open.set()
        assert [vector(row) for row in await rows] == [vector_of(t).tolist() for t in texts]


async def test_slow_input_holds_up_no_other_tenants_rows(
    site: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(decode_threads=1) as s:
        loop = asyncio.get_running_loop()
        preprocess: Preprocess = s.backbone.preprocess
        held, slow = threading.Event(), 0

        def hold(raw: Any) -> PreparedInput:
            nonlocal slow
            if len(raw) > 1000:
                slow += 1
                loop.call_soon_threadsafe(s.changes.notify)
                assert held.wait(60)
            return preprocess(raw)

        monkeypatch.setattr(s.backbone, "preprocess", hold)
        texts = [f"{i}" + "a" * (SLOW_NS // 1000) for i in range(3)]
        flood = asyncio.create_task(s.embed(*texts))
        await s.changes.until(lambda: slow > 0)
        for text in ("a", "b", "c"):
            assert vector((await s.embed(text, tenant="bolt"))[0]) == vector_of(text).tolist()
        assert slow == 1
        held.set()
        assert all(isinstance(outcome, Extracted) for outcome in await flood)


async def test_time_of_decoding_is_not_counted_as_queueing(
    site: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site() as s:
        preprocess: Preprocess = s.backbone.preprocess

        def slow(raw: Any) -> PreparedInput:
            threading.Event().wait(0.2)
            return preprocess(raw)

        monkeypatch.setattr(s.backbone, "preprocess", slow)
        loop = asyncio.get_running_loop()
        started = loop.time()
        (row,) = await s.embed("a")
        total = loop.time() - started
        assert isinstance(row, Extracted)
        assert row.decode_seconds >= 0.199
        assert row.queue_seconds > -0.001
        assert row.decode_seconds + row.queue_seconds + row.backbone_seconds <= total + 0.001


async def test_missing_row_of_the_backbone_gives_no_row_its_neighbours_embedding(
    site: SiteMaker,
) -> None:
    async with site() as s:
        s.backbone.open.clear()
        first = asyncio.create_task(s.embed("first"))
        await s.changes.until(lambda: len(s.backbone.batches) == 1)
        # The batch loses a row; of the rows run alone after that, one is lost again.
        s.backbone.steps = [0, 1, 1]
        rows = asyncio.create_task(s.embed("a", "b", "c"))
        s.backbone.open.set()
        await first
        outcomes = await rows
        assert any(isinstance(outcome, BackboneFailed) for outcome in outcomes)
        for text, outcome in zip("abc", outcomes, strict=True):
            if not isinstance(outcome, BackboneFailed):
                assert vector(outcome) == vector_of(text).tolist()


async def test_embedding_that_is_not_finite_fails_its_row_alone(
    site: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site() as s:
        forward = s.backbone.forward

        def spoil(batch: Sequence[PreparedInput]) -> NDArray[np.float32]:
            vectors: NDArray[np.float32] = forward(batch)
            for row, text in enumerate(s.backbone.batches[-1]):
                if text == "overflow":
                    vectors[row, 0] = np.nan
            return vectors

        monkeypatch.setattr(s.backbone, "forward", spoil)
        good, spoilt = await s.embed("a", "overflow")
        assert vector(good) == vector_of("a").tolist()
        assert isinstance(spoilt, BackboneFailed)


async def test_flooding_tenant_is_refused_whole_with_a_hint_and_others_are_not(
    site: SiteMaker,
) -> None:
    limits = {"max_rows_per_request": 4, "max_queued_rows_per_tenant": 4}
    async with site(**limits) as s:
        s.backbone.open.clear()
        held = asyncio.create_task(s.embed("a", "b", "c"))
        await s.changes.until(lambda: bool(s.backbone.batches))
        for texts in (["d", "e"], ["d"] * 4):
            with pytest.raises(QueueFull) as caught:
                await s.embed(*texts)
            assert caught.value.retry_after == 0.5
        other = asyncio.create_task(s.embed("x", tenant="bolt"))
        s.backbone.open.set()
        assert vector((await other)[0]) == vector_of("x").tolist()
        assert len(await held) == 3
        assert len(await s.embed("a", "b", "c", "d")) == 4


async def test_rows_that_are_admitted_and_never_run_make_room_for_others(site: SiteMaker) -> None:
    async with site(max_rows_per_request=2, max_queued_rows_per_tenant=2) as s:
        rows = [text_input("a"), text_input("b")]
        admitted = s.extractor.admit("acme", info(), rows, [Demand(), Demand()])
        with pytest.raises(QueueFull):
            s.extractor.admit("acme", info(), rows[:1], [Demand()])
        admitted.close()
        assert len(await s.embed("c", "d")) == 2


async def test_rows_of_a_cancelled_request_never_reach_the_backbone(site: SiteMaker) -> None:
    async with site(decode_threads=1) as s:
        s.backbone.open.clear()
        first = asyncio.create_task(s.embed("first"))
        await s.changes.until(lambda: len(s.backbone.batches) == 1)
        gone = asyncio.create_task(s.embed("gone", "gone too"))
        stays = asyncio.create_task(s.embed("stays"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        s.backbone.open.set()
        assert vector((await stays)[0]) == vector_of("stays").tolist()
        await first
        assert s.backbone.batches == [["first"], ["stays"]]


async def test_embedded_backbones_answer_the_same_whoever_shares_the_batch(
    cache_dir: Path,
) -> None:
    settings = load_settings(
        ExtractorSettings, backbone="minilm/l6-v2", cache_dir=cache_dir, threads=2, device="cpu"
    )
    extractor = LocalExtractor(settings, Metrics(5))
    ready: list[bool] = []
    await extractor.start(ready.append)
    try:
        assert ready[-1] is True
        backbone = extractor.backbone("minilm/l6-v2")
        texts = ["a fine day", "a", "rain " * 60, "naïve café"]
        rows = [RawInput(Kind.TEXT, text_digest(text), text) for text in texts]
        alone = [(await extractor.embed("acme", backbone, [row]))[0] for row in rows]
        together = await extractor.embed("acme", backbone, rows)
        for one, shared in zip(alone, together, strict=True):
            assert isinstance(one, Extracted)
            assert isinstance(shared, Extracted)
            assert one.vector.shape == (384,)
            np.testing.assert_allclose(one.vector, shared.vector, atol=1e-4)
    finally:
        await extractor.close()
