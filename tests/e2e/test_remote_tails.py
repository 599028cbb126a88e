"""Tails behind an extraction server: handed over when they are needed, and again when forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from models.catalogue import MINILM_L6_V2
from models.catalogue.loading import LoadedNetwork, load_backbone_network
from service.errors import InvalidRequest, PreconditionFailed
from service.extraction import TailRef
from service.extraction.remote import RemoteExtractor
from service.requests.inputs import Kind, RawInput
from tests.e2e.conftest import TEXTS
from tests.e2e.processes import Running, extractor_command
from tests.service.extraction.changed_tails import Case, assert_close
from tests.service.tiny_backbone import text_input
from trunkline.digest import image_digest

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Running]:
    """An extractor with room for one tail of 14 MB, in its host memory and on its device."""
    folder = tmp_path_factory.mktemp("extractor")
    room = ("--held-tail-bytes", str(20 * MIB), "--tail-cache-bytes", str(20 * MIB))
    command = extractor_command("--socket", str(folder / "socket"), "--device", "cpu", *room)
    running = Running.start(command, folder / "log")
    try:
        yield running.wait_until_serving()
        assert running.terminate() == 0
    finally:
        running.close()


@pytest.fixture(scope="module")
def network() -> LoadedNetwork:
    return load_backbone_network(MINILM_L6_V2.name, device="cpu")


@pytest.fixture
async def case(extractor: Running, network: LoadedNetwork) -> AsyncIterator[Case]:
    remote = RemoteExtractor(extractor.grpc, max_message_bytes=64 * MIB, timeout_seconds=60)
    ready = asyncio.Event()
    await remote.start(lambda is_ready: ready.set())
    await ready.wait()
    rows = [text_input(text) for text in ("a fine day", "rain " * 40, "naïve café")]
    yield Case(remote, remote.backbone(TEXTS), rows, network)
    await remote.close()


async def test_tail_is_handed_over_once_and_again_when_it_was_forgotten(case: Case) -> None:
    plain = await case.embed()
    changed = [case.changed(1), case.changed(2)]
    one, two = (case.tail(tensors) for tensors in changed)
    together = await asyncio.gather(*(case.embed(one, tenant) for tenant in ("acme", "bolt")))
    for found in together:
        assert_close(found, await case.expected(changed[0]))
    assert case.reads == [one.fingerprint]
    assert_close(await case.embed(two), await case.expected(changed[1]))
    assert_close(await case.embed(one), together[0])
    assert case.reads == [one.fingerprint, two.fingerprint, one.fingerprint]
    assert_close(await case.embed(), plain)


async def test_activations_come_in_half_precision_and_prepared_inputs_as_they_are(
    case: Case,
) -> None:
    many = case.rows * 15
    many[7] = RawInput(Kind.IMAGE, image_digest(b"x"), b"x")
    outcomes = await case.extractor.activations("acme", case.backbone, many, prepared=False)
    prepared = await case.prepared()
    for row, outcome in enumerate(outcomes):
        if row == 7:
            assert isinstance(outcome, InvalidRequest)
            assert outcome.field == "input"
            continue
        assert isinstance(outcome, np.ndarray)
        assert (str(outcome.dtype), outcome.shape) == ("float16", (len(prepared[row % 3]), 384))
    assert [str(row.dtype) for row in prepared] == ["int64"] * 3


async def test_file_that_is_not_the_one_named_is_refused(case: Case) -> None:
    one, two = case.tail(case.changed(3)), case.tail(case.changed(4))
    with pytest.raises(InvalidRequest, match="fingerprint"):
        await case.embed(TailRef(one.fingerprint, two.read))


async def test_tail_larger_than_the_room_is_refused_with_limit_and_size(case: Case) -> None:
    whole = case.tail(case.changed(1, whole=True), whole=True)
    with pytest.raises(PreconditionFailed) as caught:
        await case.embed(whole)
    assert (caught.value.field, caught.value.limit) == ("tail", str(20 * MIB))


async def test_backbones_are_not_loaded_from_here(case: Case) -> None:
    for ask in (case.extractor.load_backbone, case.extractor.unload_backbone):
        with pytest.raises(PreconditionFailed, match="AdminService"):
            await ask(TEXTS)
