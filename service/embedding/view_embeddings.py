"""Embeddings of views: what heads with augmentation learn from beside each image itself."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

import adapters
import models
from adapters.examples import Views
from models import InputLimits, Modality
from service.embedding.head_backbones import head_backbone
from service.embedding.image_views import ViewMaker
from service.errors import DeadlineExceeded, ServiceError, reason_for_log
from service.extraction import BackboneInfo, Extracted, Extractor
from service.logs import get_logger
from service.requests.inputs import RawInput, read_kept
from service.store import Database, example_sets, kept_inputs
from service.store import embeddings as stored_embeddings
from service.store import examples as stored_examples
from service.store.head_records import HeadRecord
from service.store.view_digests import view_digest
from trunkline.rows.chunking import split

ROWS_AT_ONCE = 64
"""Views under way at a time: 20 MB of pixels, and a small share of the tenant's queue."""

INPUTS_AT_ONCE = 32
"""Kept inputs that are read at a time."""

VectorsByDigest = Mapping[str, NDArray[np.float32]]

log = get_logger(__name__)


class ViewEmbeddings:
    """Makes and embeds views, each once; they are stored like any other embedding."""

    def __init__(
        self, database: Database, extractor: Extractor, maker: ViewMaker, limits: InputLimits
    ) -> None:
        self._database = database
        self._extractor = extractor
        self._maker = maker
        self._limits = limits

    async def of_new(
        self,
        head: HeadRecord,
        backbone: BackboneInfo,
        raws: Sequence[RawInput],
        deadline: float | None,
    ) -> dict[str, VectorsByDigest]:
        """Embeds the views that the head's spec asks for, by the digest of their image.

        Those that are stored already are left out.

        Raises:
            QueueFull, Unavailable: the extractor takes no rows now.
        """
        count = wanted_views(head, backbone)
        images = list({raw.digest: raw for raw in raws if count and _is_image(raw)}.values())
        if not images:
            return {}
        names = [view_digest(raw.digest, i) for raw in images for i in range(count)]
        known = await self._database.read(stored_embeddings.known_digests, head, names)
        return await self._embed(head, backbone, images, count, known, deadline)

    async def add_missing(self, head: HeadRecord, count: int) -> None:
        """Embeds and stores missing views of kept inputs for a training, as far as it can."""
        missing = await self._database.read(_without_views, head, count)
        try:
            backbone = head_backbone(self._extractor, head)
            for part in split(missing, max_rows=INPUTS_AT_ONCE):
                kept = await self._database.read(kept_inputs.find_inputs, head.uid, part)
                raws = await read_kept(kept, self._limits)
                images = [raw for raw in map(_sound, raws.values()) if _is_image(raw)]
                views = await self._embed(head, backbone, images, count, (), None)
                await self._database.write(
                    stored_examples.store_views, head.uid, views, head.fingerprint
                )
        except ServiceError as error:
            log.warning("views are missing", head=head.resource, reason=reason_for_log(error))

    async def _embed(
        self,
        head: HeadRecord,
        backbone: BackboneInfo,
        images: Sequence[RawInput],
        count: int,
        known: Container[str],
        deadline: float | None,
    ) -> dict[str, VectorsByDigest]:
        embedded: dict[str, VectorsByDigest] = {}
        for part in split(images, max_rows=max(1, ROWS_AT_ONCE // count)):
            made = await asyncio.gather(
                *(self._make(head.tenant, raw, count, known, deadline) for raw in part)
            )
            rows = [row for views in made for row in views]
            if not rows:
                continue
            outcomes = await self._extractor.embed(
                head.tenant, backbone, [row for _, row in rows], deadline=deadline
            )
            for (digest, row), outcome in zip(rows, outcomes, strict=True):
                if isinstance(outcome, Extracted):
                    embedded[digest] = {**embedded.get(digest, {}), row.digest: outcome.vector}
        return embedded

    async def _make(
        self,
        tenant: str,
        raw: RawInput,
        count: int,
        known: Container[str],
        deadline: float | None,
    ) -> list[tuple[str, RawInput]]:
        """Makes the views that are not known, each with its image's digest."""
        names = [view_digest(raw.digest, index) for index in range(count)]
        if all(name in known for name in names):
            return []
        try:
            views = await self._maker.make(tenant, raw, count, deadline=deadline)
        except models.InvalidInput as error:  # it was embedded, under limits of another day
            log.warning("no views can be made", digest=raw.digest, reason=reason_for_log(error))
            return []
        except DeadlineExceeded:  # as where they are not embedded in time
            return []
        return [(raw.digest, view) for view in views if view.digest not in known]


def stored_views(
    connection: Connection, head: HeadRecord, digests: Sequence[str], count: int
) -> Views | None:
    """Reads the embeddings of the first views of these examples; None if there are none at all."""
    names = {
        view_digest(digest, index): row
        for row, digest in enumerate(digests)
        for index in range(count)
    }
    found = stored_embeddings.find_embeddings(
        connection, head.tenant, head.fingerprint, list(names)
    )
    vectors = [(found[name], row) for name, row in names.items() if name in found]
    if not vectors:
        return None
    rows = np.array([row for _, row in vectors], dtype=np.int64)
    return Views(np.stack([vector for vector, _ in vectors]), rows)


def _without_views(connection: Connection, head: HeadRecord, count: int) -> list[str]:
    """Returns digests of the head's labelled examples that lack one of their first views."""
    digests = example_sets.training_digests(connection, head.uid)
    names = {digest: [view_digest(digest, i) for i in range(count)] for digest in digests}
    wanted = [name for views in names.values() for name in views]
    known = stored_embeddings.known_digests(connection, head, wanted)
    return [digest for digest, views in names.items() if not known.issuperset(views)]


def wanted_views(head: HeadRecord, backbone: BackboneInfo) -> int:
    """Returns how many views of each image the head's own spec asks for."""
    if backbone.modality is not Modality.IMAGE:
        return 0
    return adapters.HeadSpec.from_json(head.spec).augment.views


def _sound(raw: RawInput | Exception) -> RawInput:
    if isinstance(raw, Exception):
        raise raw
    return raw


def _is_image(raw: RawInput) -> bool:
    return raw.kind.modality is Modality.IMAGE
