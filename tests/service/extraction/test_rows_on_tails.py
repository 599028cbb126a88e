"""Rows on tails, through the extractor: who waits for what, and what a tenant costs the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import generate_latest

from models import InvalidInput
from models.tails import tail_fingerprint
from service.config import ExtractorSettings, extractor_settings, load_settings
from service.errors import BackboneFailed, NotFound, PreconditionFailed
from service.extraction import Extracted, TailRef, local
from service.extraction.local import LocalExtractor
from service.metrics import Metrics
from tests.service.tiny_backbone import TinyBackbone, info, tail_file, text_input, vector_of
from tests.service.waiting import Changes, queued


class Site:
    """A started extractor on one tiny backbone, and tails by what they add."""

    def __init__(self, extractor: LocalExtractor, backbone: TinyBackbone, metrics: Metrics) -> None:
        self.extractor = extractor
        self.backbone = backbone
        self.metrics = metrics
        self.changes = Changes()
        self.reading: list[float] = []
        self.go = asyncio.Event()
        self.go.set()
        self._loop = asyncio.get_running_loop()
        backbone.on_batch = self._note_batch

    def tail(self, shift: float, error: Exception | None = None, **values: Any) -> TailRef:
        data = tail_file(shift, **values)

        async def read() -> bytes:
            self.reading.append(shift)
            self.changes.notify()
            await self.go.wait()
            if error is not None:
                raise error
            return data

        return TailRef(tail_fingerprint(data), read)

    async def embed(
        self, *texts: str, tail: TailRef | None = None, tenant: str = "acme"
    ) -> list[Extracted | Exception]:
        backbone = info() if tail is None else info().with_tail(tail)
        return await self.extractor.embed(tenant, backbone, [text_input(t) for t in texts])

    async def activations(self, *texts: str, prepared: bool) -> list[NDArray[Any] | Exception]:
        rows = [text_input(text) for text in texts]
        return await self.extractor.activations("acme", info(), rows, prepared=prepared)

    def _note_batch(self) -> None:
        self._loop.call_soon_threadsafe(self.changes.notify)

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Within the block rows gather, behind a batch that does not end."""
        self.backbone.open.clear()
        batches = len(self.backbone.batches)
        first = asyncio.create_task(self.embed("first", tenant="zeta"))
        await self.changes.until(lambda: len(self.backbone.batches) > batches)
        yield
        self.backbone.open.set()
        await first


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    backbone, metrics = TinyBackbone(), Metrics(5)
    monkeypatch.setattr(extractor_settings, "check_backbones", lambda *_: None)
    monkeypatch.setattr(local, "load_backbone", lambda name, **_: backbone)
    settings = load_settings(ExtractorSettings, backbone="tiny/text", passes=1)
    extractor = LocalExtractor(settings, metrics)
    await extractor.start(lambda ready: None)
    made = Site(extractor, backbone, metrics)
    yield made
    backbone.open.set()
    made.go.set()
    await extractor.close()
    assert all(tail.closed for tail in backbone.tails)


def check(outcomes: list[Extracted | Exception], texts: str, shift: float = 0) -> None:
    assert len(outcomes) == len(texts)
    for outcome, text in zip(outcomes, texts, strict=True):
        assert isinstance(outcome, Extracted), outcome
        np.testing.assert_array_equal(outcome.vector, vector_of(text) + np.float32(shift))


async def test_rows_of_all_tenants_share_the_prefix_whatever_their_tails(site: Site) -> None:
    await site.embed("warm", tail=site.tail(1))
    await site.embed("warm", tail=site.tail(2), tenant="bolt")
    async with site.busy():
        ab = asyncio.create_task(site.embed(*"ab", tail=site.tail(1)))
        c = asyncio.create_task(site.embed("c", tail=site.tail(2), tenant="bolt"))
        d = asyncio.create_task(site.embed("d", tenant="core"))
        e = asyncio.create_task(site.activations("e", prepared=False))
        await queued(site.metrics, "tiny/text", 5)
    check(await ab, "ab", 1)
    check(await c, "c", 2)
    check(await d, "d")
    (activation,) = await e
    assert isinstance(activation, np.ndarray)
    assert activation.tolist() == [[ord("e")]]
    assert sorted(site.backbone.batches[-1]) == [*"abcde"]
    assert site.backbone.finished[-1] == ["d"]
    assert 'trunkline_tail_rows_total{backbone="tiny/text"} 5.0' in metrics_of(site)


async def test_whole_tail_skips_the_prefix(site: Site) -> None:
    batches = len(site.backbone.batches)
    check(await site.embed(*"ab", tail=site.tail(3, whole=True)), "ab", 3)
    assert len(site.backbone.batches) == batches


async def test_cold_tail_blocks_nobody_else(site: Site) -> None:
    await site.embed("warm", tail=site.tail(1))
    site.go.clear()
    cold = asyncio.create_task(site.embed(*"ab", tail=site.tail(2)))
    await site.changes.until(lambda: site.reading == [1, 2])
    check(await site.embed("c", tenant="bolt"), "c")
    check(await site.embed("d", tail=site.tail(1), tenant="bolt"), "d", 1)
    check(await site.embed("e"), "e")
    assert not cold.done()
    site.go.set()
    check(await cold, "ab", 2)
    assert site.reading == [1, 2]


async def test_tail_that_cannot_be_read_fails_its_rows_alone(site: Site) -> None:
    outcomes, others = await asyncio.gather(
        site.embed(*"ab", tail=site.tail(1, NotFound("gone"))), site.embed("c", tenant="bolt")
    )
    assert [type(outcome) for outcome in outcomes] == [NotFound, NotFound]
    check(others, "c")
    assert site.extractor.ready


async def test_failing_tail_says_nothing_of_the_backbone(site: Site) -> None:
    (outcome,) = await site.embed("cursed", tail=site.tail(1))
    assert isinstance(outcome, BackboneFailed)
    assert "secret" not in str(outcome)
    assert site.extractor.ready
    assert 'trunkline_backbone_failures_total{backbone="tiny/text"} 0.0' in metrics_of(site)


async def test_rows_that_leave_while_their_tail_is_cold_leave_nothing_behind(site: Site) -> None:
    site.go.clear()
    gone = asyncio.create_task(site.embed(*"ab", tail=site.tail(1)))
    await site.changes.until(lambda: site.reading == [1])
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    site.go.set()
    check(await site.embed("c", tail=site.tail(2)), "c", 2)
    assert [tail.closed for tail in site.backbone.tails] == [True, False]
    assert [*"ab"] not in site.backbone.batches


async def test_tail_stays_for_the_batch_of_a_row_that_left(site: Site) -> None:
    tail = site.tail(1)
    await site.embed("warm", tail=tail)
    site.backbone.open.clear()
    batches = len(site.backbone.batches)
    gone = asyncio.create_task(site.embed("a", tail=tail))
    await site.changes.until(lambda: len(site.backbone.batches) > batches)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    unload = asyncio.create_task(site.extractor.unload_backbone("tiny/text"))
    await asyncio.sleep(0)
    assert not site.backbone.tails[0].closed
    site.backbone.open.set()
    await unload
    assert ["a"] in site.backbone.tails[0].batches
    assert site.backbone.tails[0].closed


async def test_prepared_inputs_are_decoded_and_no_more(site: Site) -> None:
    batches = len(site.backbone.batches)
    good, bad = await site.activations("ab", "bad", prepared=True)
    assert isinstance(good, np.ndarray)
    assert (str(good.dtype), good.tolist()) == ("int64", [ord("a"), ord("b")])
    assert isinstance(bad, InvalidInput)
    assert len(site.backbone.batches) == batches


async def test_backbone_that_cannot_be_cut_gives_no_activations(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.backbone, "cut", "")
    with pytest.raises(PreconditionFailed, match="cannot be cut"):
        await site.activations("a", prepared=False)
    (prepared,) = await site.activations("a", prepared=True)
    assert isinstance(prepared, np.ndarray)


def metrics_of(site: Site) -> str:
    return generate_latest(site.metrics.registry).decode()


async def test_rows_run_although_the_first_try_of_the_cut_has_failed(site: Site) -> None:
    site.backbone.steps = [MemoryError("no room now")]
    for _ in range(2):
        (outcome,) = await site.embed("a", tail=site.tail(1))
        assert isinstance(outcome, Extracted), outcome
        np.testing.assert_array_equal(outcome.vector, vector_of("a") + np.float32(1))
