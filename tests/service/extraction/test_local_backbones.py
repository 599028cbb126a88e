"""Backbones that come and go while the extractor runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from models import BackboneError, PreparedInput, RawInput, UnknownBackbone, WeightsMissing
from service.config import ExtractorSettings, extractor_settings, load_settings
from service.errors import InvalidRequest, InvalidSettings, PreconditionFailed, Unavailable
from service.extraction import BackboneInfo, Extracted, backbone_runner, local
from service.extraction.local import LocalExtractor
from service.metrics import Metrics
from tests.service import tiny_backbone
from tests.service.tiny_backbone import TinyBackbone, info, text_input, vector_of
from tests.service.waiting import Changes, queued

NAMES = ("tiny/text", "tiny/other")


class Site:
    """An extractor, and every backbone that it has loaded. Loading waits while `go` is not set."""

    def __init__(self) -> None:
        self.metrics = Metrics(5)
        self.loaded: list[TinyBackbone] = []
        self.readiness: list[bool] = []
        self.changes = Changes()
        self.errors: dict[str, Exception] = {}
        self.fingerprint = "f" * 64
        self.broken = False
        self.go = threading.Event()
        self.go.set()
        self._loop = asyncio.get_running_loop()

    def load(self, name: str, **_: object) -> TinyBackbone:
        assert self.go.wait(60)
        if name in self.errors:
            raise self.errors[name]
        backbone = TinyBackbone(name)
        backbone.fingerprint = self.fingerprint
        backbone.broken = self.broken
        backbone.on_batch = self.note
        self.loaded.append(backbone)
        return backbone

    def note(self) -> None:
        self._loop.call_soon_threadsafe(self.changes.notify)

    async def start(self, **values: Any) -> None:
        settings = load_settings(
            ExtractorSettings, **{"backbone": "tiny/text", "drain_seconds": 60, **values}
        )
        self.extractor = LocalExtractor(settings, self.metrics)
        await self.extractor.start(self.readiness.append)

    async def embed(self, text: str, backbone: BackboneInfo | None = None) -> Extracted:
        backbone = backbone or info()
        (outcome,) = await self.extractor.embed("acme", backbone, [text_input(text)])
        assert isinstance(outcome, Extracted), outcome
        return outcome

    def names(self) -> list[str]:
        return [known.name for known in self.extractor.backbones()]


StartServer = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> StartServer:
    @asynccontextmanager
    async def make(**values: Any) -> AsyncIterator[Site]:
        made = Site()
        monkeypatch.setattr(extractor_settings, "check_backbones", lambda *_: None)
        monkeypatch.setattr(local, "load_backbone", made.load)
        await made.start(**values)
        yield made
        for backbone in made.loaded:
            backbone.open.set()
        await made.extractor.close()
        assert all(backbone.closed for backbone in made.loaded)

    return make


async def test_backbone_loaded_at_run_time_is_warm_and_serves(site: StartServer) -> None:
    async with site() as s:
        loaded = await s.extractor.load_backbone("tiny/other")
        assert (loaded.name, loaded.ready) == ("tiny/other", True)
        assert s.names() == ["tiny/text", "tiny/other"]
        assert s.loaded[1].warm_ups == 1
        outcome = await s.embed("a", info("tiny/other"))
        assert outcome.vector.tolist() == vector_of("a").tolist()
        assert set(s.readiness) == {True}


async def test_loading_what_is_loaded_changes_nothing_and_concurrent_loads_join(
    site: StartServer,
) -> None:
    async with site() as s:
        again, first, second = await asyncio.gather(
            *(s.extractor.load_backbone(name) for name in ("tiny/text", "tiny/other", "tiny/other"))
        )
        assert first == second
        assert again == s.extractor.backbone("tiny/text")
        assert [backbone.name for backbone in s.loaded] == ["tiny/text", "tiny/other"]


async def test_others_serve_and_stay_ready_while_one_is_loaded(site: StartServer) -> None:
    async with site() as s:
        s.go.clear()
        loading = asyncio.create_task(s.extractor.load_backbone("tiny/other"))
        assert (await s.embed("a")).vector.tolist() == vector_of("a").tolist()
        assert s.extractor.ready
        assert s.names() == ["tiny/text"]
        s.go.set()
        await loading
        assert set(s.readiness) == {True}


async def test_load_that_hangs_delays_no_other_backbones(
    site: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site() as s:
        go_on = threading.Event()

        def load(name: str, **values: object) -> TinyBackbone:
            if name == "tiny/slow":
                assert go_on.wait(60)
            return s.load(name, **values)

        monkeypatch.setattr(local, "load_backbone", load)
        slow = asyncio.create_task(s.extractor.load_backbone("tiny/slow"))
        await asyncio.sleep(0)
        try:
            assert (await s.extractor.load_backbone("tiny/other")).name == "tiny/other"
            await s.extractor.unload_backbone("tiny/text")
            assert s.names() == ["tiny/other"]
            assert not slow.done()
        finally:
            go_on.set()
        assert (await slow).name == "tiny/slow"


async def test_unknown_backbone_is_an_invalid_request(site: StartServer) -> None:
    async with site() as s:
        s.errors["nonesuch"] = UnknownBackbone("unknown backbone 'nonesuch'")
        with pytest.raises(InvalidRequest, match="nonesuch") as caught:
            await s.extractor.load_backbone("nonesuch")
        assert (caught.value.field, caught.value.value) == ("name", "nonesuch")


@pytest.mark.parametrize(
    "error", [WeightsMissing("put weights.bin there"), BackboneError("cannot read the graph")]
)
async def test_backbone_that_cannot_be_loaded_says_why_and_may_be_tried_again(
    site: StartServer, error: BackboneError
) -> None:
    async with site() as s:
        s.errors["tiny/other"] = error
        with pytest.raises(PreconditionFailed) as caught:
            await s.extractor.load_backbone("tiny/other")
        assert str(caught.value) == str(error)
        s.errors.clear()
        await s.extractor.load_backbone("tiny/other")
        assert s.names() == ["tiny/text", "tiny/other"]


async def test_backbone_that_does_not_run_is_not_added(site: StartServer) -> None:
    async with site() as s:
        s.broken = True
        with pytest.raises(PreconditionFailed, match="broken"):
            await s.extractor.load_backbone("tiny/other")
        assert s.loaded[1].closed
        assert (s.names(), s.extractor.ready) == (["tiny/text"], True)


async def test_unloading_finishes_rows_under_way_and_takes_no_new_ones(site: StartServer) -> None:
    async with site(passes=1) as s:
        s.loaded[0].open.clear()
        first = asyncio.create_task(s.embed("a"))
        await s.changes.until(lambda: bool(s.loaded[0].batches))
        behind = asyncio.create_task(s.embed("b"))
        await asyncio.sleep(0)
        unload = asyncio.create_task(s.extractor.unload_backbone("tiny/text"))
        await asyncio.sleep(0)
        with pytest.raises(PreconditionFailed, match="'tiny/text' is not loaded"):
            await s.embed("c")
        assert not s.loaded[0].closed
        s.loaded[0].open.set()
        assert (await first).vector.tolist() == vector_of("a").tolist()
        assert (await behind).vector.tolist() == vector_of("b").tolist()
        await unload
        assert s.loaded[0].closed
        assert s.names() == []
        assert "trunkline_backbone_ready{" not in generate_latest(s.metrics.registry).decode()


async def test_unloaded_backbone_leaves_the_metrics_also_where_they_are_kept_in_files(
    site: StartServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    async with site() as s:
        await s.extractor.unload_backbone("tiny/text")
        assert "trunkline_backbone_ready{" not in generate_latest(s.metrics.registry).decode()


async def test_rows_that_do_not_end_in_time_are_dropped(site: StartServer) -> None:
    async with site(passes=1, drain_seconds=0) as s:
        s.loaded[0].open.clear()
        first = asyncio.create_task(s.extractor.embed("acme", info(), [text_input("a")]))
        await s.changes.until(lambda: bool(s.loaded[0].batches))
        unload = asyncio.create_task(s.extractor.unload_backbone("tiny/text"))
        (outcome,) = await first
        assert isinstance(outcome, Unavailable)
        s.loaded[0].open.set()
        await unload
        assert s.loaded[0].closed


async def test_what_is_not_loaded_cannot_be_unloaded(site: StartServer) -> None:
    async with site() as s:
        with pytest.raises(PreconditionFailed, match="nonesuch"):
            await s.extractor.unload_backbone("nonesuch")
        await s.extractor.unload_backbone("tiny/text")
        with pytest.raises(PreconditionFailed, match="loaded: none"):
            await s.extractor.unload_backbone("tiny/text")
        assert s.extractor.ready


async def test_unloaded_backbone_serves_again_when_it_is_loaded_again(site: StartServer) -> None:
    async with site() as s:
        old = s.extractor.backbone("tiny/text")
        await s.extractor.unload_backbone("tiny/text")
        await s.extractor.load_backbone("tiny/text")
        assert (await s.embed("a", old)).vector.tolist() == vector_of("a").tolist()


async def test_rows_for_other_weights_of_the_same_name_are_not_embedded(site: StartServer) -> None:
    async with site() as s:
        old = s.extractor.backbone("tiny/text")
        await s.extractor.unload_backbone("tiny/text")
        s.fingerprint = "0" * 64
        await s.extractor.load_backbone("tiny/text")
        with pytest.raises(Unavailable, match="has changed"):
            await s.embed("a", old)


async def test_followers_hear_of_every_change(site: StartServer) -> None:
    async with site() as s:
        updates = s.extractor.follow_backbones()
        assert [known.name for known in await anext(updates)] == ["tiny/text"]
        await s.extractor.load_backbone("tiny/other")
        assert [known.name for known in await anext(updates)] == ["tiny/text", "tiny/other"]
        await s.extractor.unload_backbone("tiny/text")
        assert [known.name for known in await anext(updates)] == ["tiny/other"]
        await updates.aclose()  # type: ignore[attr-defined]


async def test_backbones_share_the_passes_on_the_device(site: StartServer) -> None:
    async with site(passes=1, backbone="tiny/text,tiny/other") as s:
        s.loaded[0].open.clear()
        first = asyncio.create_task(s.embed("a"))
        await s.changes.until(lambda: bool(s.loaded[0].batches))
        others = [asyncio.create_task(s.embed(text, info("tiny/other"))) for text in "bcd"]
        more = asyncio.create_task(s.embed("e"))
        await queued(s.metrics, "tiny/other", 3)
        assert s.loaded[1].batches == []
        s.loaded[0].open.set()
        await asyncio.gather(first, more, *others)
        # They gathered while the other backbone had the device.
        assert [sorted(batch) for batch in s.loaded[1].batches] == [["b", "c", "d"]]


async def test_pass_that_hangs_refuses_rows_of_all_backbones_on_its_device_until_it_ends(
    site: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone_runner, "STUCK_SECONDS", 0.0)
    async with site(backbone=NAMES, passes=1) as s:
        unready = asyncio.Event()
        s.extractor._on_readiness = lambda ready: None if ready else unready.set()
        s.loaded[0].open.clear()
        held = asyncio.create_task(s.embed("a"))
        await unready.wait()
        monkeypatch.setattr(backbone_runner, "STUCK_SECONDS", 10_000.0)
        for name in NAMES:
            with pytest.raises(Unavailable, match="hang; try again later") as caught:
                await s.embed("b", info(name))
            assert caught.value.retry_after == 5.0
        s.loaded[0].open.set()
        await held
        assert s.extractor.ready
        for name in NAMES:
            assert (await s.embed("b", info(name))).vector.tolist() == vector_of("b").tolist()


@pytest.mark.parametrize(
    ("setting", "value"), [("max_batch_tokens", 100), ("max_batch_tokens", 511)]
)
async def test_budget_that_valid_inputs_do_not_fit_is_refused(
    site: StartServer, setting: str, value: int
) -> None:
    with pytest.raises(InvalidSettings, match=f"at least 512 .* is {value}") as caught:
        async with site(**{setting: value}):
            raise AssertionError
    assert caught.value.field == setting


async def test_backbone_that_the_budget_does_not_suit_is_not_loaded_at_run_time(
    site: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(max_batch_tokens=512) as s:
        monkeypatch.setattr(tiny_backbone, "MAX_LETTERS", 600)
        with pytest.raises(PreconditionFailed) as caught:
            await s.extractor.load_backbone("tiny/other")
        assert (caught.value.field, caught.value.limit) == ("max_batch_tokens", 600)
        assert s.loaded[1].closed
        assert s.names() == ["tiny/text"]


async def test_texts_larger_than_the_default_budget_raise_it(
    site: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def preprocess(self: TinyBackbone, raw: RawInput) -> PreparedInput:
        assert isinstance(raw, str)
        return PreparedInput(whole(self, raw).data, 10 * len(raw))

    whole = TinyBackbone.preprocess
    monkeypatch.setattr(TinyBackbone, "preprocess", preprocess)
    async with site() as s:
        assert (await s.embed("long " * 10_000)).vector.shape == (4,)
