"""Activations of kept inputs: what is missing is computed, once, and within the room there is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from adapters.progress import ignore_progress
from adapters.spec import CROPPED, ViewSet
from models import InputLimits, Modality
from service.embedding.image_views import ViewMaker
from service.errors import PreconditionFailed, QueueFull, ServiceError, Unavailable
from service.extraction import BackboneInfo
from service.extraction.decoding import DecodeCalls
from service.requests import inputs
from service.store import Database
from service.store.examples import NewExample
from service.store.head_records import HeadRecord
from service.store.view_digests import view_digests
from service.tuning.activation_files import ROW_OVERHEAD_BYTES, ActivationFiles, Key
from service.tuning.activations import Activations
from tests.service.hand_extractor import HandExtractor
from tests.service.store.records import add_examples, new_head
from tests.service.tiny_backbone import DIM, FINGERPRINT
from trunkline.digest import image_digest
from trunkline.v1 import common_pb2

IMAGES = BackboneInfo("tiny/image", Modality.IMAGE, DIM, FINGERPRINT, "torch", "cpu", True)
ROW = np.ones((16, 16), np.float16)


class Cutting(HandExtractor):
    """Gives every input the same activation; `busy` is told for the last row first."""

    def __init__(self) -> None:
        super().__init__(IMAGES)
        self.computed: list[str] = []
        self.busy: list[ServiceError] = []

    async def activations(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[inputs.RawInput],
        *,
        prepared: bool,
        deadline: float | None = None,
    ) -> list[NDArray[Any] | Exception]:
        rows: list[NDArray[Any] | Exception] = [ROW] * len(inputs)
        if self.busy:
            return [*rows[1:], self.busy.pop()]
        self.computed += [raw.digest for raw in inputs]
        return rows


class Site:
    """A head that keeps its images, and what computes their activations."""

    def __init__(
        self,
        database: Database,
        decoding: DecodeCalls,
        files: ActivationFiles,
        head: HeadRecord,
        digests: list[str],
    ) -> None:
        self.files = files
        self.head = head
        self.digests = digests
        self.extractor = Cutting()
        views = ViewMaker(decoding, InputLimits())
        self._activations = Activations(database, self.extractor, files, views, InputLimits())

    async def complete(self, views: int) -> Key:
        return await self._activations.complete(
            self.head,
            IMAGES,
            self.digests,
            ViewSet(CROPPED, views),
            ignore_progress,
            prepared=False,
        )

    def names(self, views: int) -> set[str]:
        return {name for d in self.digests for name in (d, *view_digests(d, views))}


async def site(
    database: Database, decoding: DecodeCalls, folder: Path, max_bytes: int = 1_000_000
) -> Site:
    head = await database.write(new_head)
    digests = []
    for brightness in (50, 150, 250):
        stream = io.BytesIO()
        Image.new("RGB", (16, 16), (brightness, 0, 0)).save(stream, "PNG")
        data = stream.getvalue()
        kept = common_pb2.Input(image=data).SerializeToString()
        row = NewExample(image_digest(data), "image", np.ones(DIM, np.float32), "a", "upload", kept)
        await database.write(add_examples, head.uid, row)
        digests.append(row.digest)
    return Site(database, decoding, ActivationFiles(folder, max_bytes), head, digests)


async def test_views_of_images_whose_own_rows_are_there_are_computed(
    database: Database, decoding: DecodeCalls, tmp_path: Path
) -> None:
    s = await site(database, decoding, tmp_path / "activations")
    key = await s.complete(views=0)
    assert s.files.known(key) == set(s.digests)
    assert await s.complete(views=2) == key
    assert s.files.known(key) == s.names(2)
    assert len(s.extractor.computed) == len(set(s.extractor.computed)) + 2  # to measure a row
    s.extractor.computed.clear()
    await s.complete(views=2)
    assert s.extractor.computed == []


@pytest.mark.parametrize("busy", [QueueFull, Unavailable])
async def test_row_that_finds_the_extractor_busy_is_asked_for_again(
    database: Database, decoding: DecodeCalls, tmp_path: Path, busy: type[ServiceError]
) -> None:
    s = await site(database, decoding, tmp_path / "activations")
    s.extractor.busy = [busy("later", retry_after=0.001)]
    key = await s.complete(views=0)
    assert s.files.known(key) == set(s.digests)


async def test_views_that_do_not_fit_are_refused_before_they_are_computed(
    database: Database, decoding: DecodeCalls, tmp_path: Path
) -> None:
    room = 5 * (ROW.nbytes + ROW_OVERHEAD_BYTES)
    s = await site(database, decoding, tmp_path / "activations", room)
    with pytest.raises(PreconditionFailed) as caught:
        await s.complete(views=1)
    assert (caught.value.field, caught.value.limit) == ("activation_cache_bytes", room)
    assert s.extractor.computed == s.digests[:1]
