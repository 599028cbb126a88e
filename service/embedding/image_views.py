"""Views of images, for test-time augmentation and for training."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import cast

import models
from adapters.spec import MAX_VIEWS
from models import InputLimits, Modality
from models.views import make_flips, make_views
from service.errors import InvalidRequest, ServiceError
from service.extraction.decoding import DecodeCalls
from service.requests.inputs import Kind, RawInput
from service.store.view_digests import view_digests

VIEW_NS = 8_000_000
"""Nanoseconds of a view, its image being decoded."""

InputWithViews = Sequence[RawInput | Exception]
"""An input, then its views; or why there are none, alone."""


def check_views(count: int, limit: int = MAX_VIEWS) -> None:
    """Checks that no more views are asked for than there are, or than a head has.

    Raises:
        InvalidRequest: naming field, limit and value.
    """
    if count > limit:
        raise InvalidRequest.at("average_views", "at most {limit}, is {value}", limit, count)


def check_only_of_images(
    field: str, count: int | None, modality: Modality, error: type[ServiceError] = InvalidRequest
) -> None:
    """Checks that no views are asked for of inputs that have none.

    Raises:
        ServiceError: of the kind that was named, with field, limit and value.
    """
    if count and modality is not Modality.IMAGE:
        raise error(
            f"{field}: must be 0 for {modality} inputs, is {count}: only images have views",
            field=field,
            limit=0,
            value=count,
        )


def count_views(
    raws: Sequence[RawInput | Exception], rows: Sequence[int], views: int, *, asked: bool
) -> dict[int, int]:
    """Returns how many views of each of these rows are averaged over.

    Where nobody asked but the head is set to it, inputs that are no images are answered by
    themselves.
    """
    return {row: views if asked or _is_image(raws[row]) else 0 for row in rows}


def split_by_views(counts: Mapping[int, int], most: int) -> Iterator[dict[int, int]]:
    """Splits rows, in order: each part has at most so many with their views, or is a single one."""
    part: dict[int, int] = {}
    total = 0
    for row, count in sorted(counts.items()):
        total += 1 + count
        if part and total > most:
            yield part
            part, total = {}, 1 + count
        part[row] = count
    if part:
        yield part


async def with_views(
    raws: Sequence[RawInput | Exception],
    counts: Sequence[int],
    views: ViewMaker,
    tenant: str,
    *,
    deadline: float | None = None,
    flipped: Container[int] = (),
) -> list[InputWithViews]:
    """Makes the first views of each input.

    Args:
        counts: how many of each.
        deadline: on the event loop's clock; no view is begun after it.
        flipped: indices of inputs whose views are flips.
    """
    if not any(counts):
        return [[raw] for raw in raws]
    return await asyncio.gather(
        *(
            _with_views(raw, count, views, tenant, deadline, flips=i in flipped)
            for i, (raw, count) in enumerate(zip(raws, counts, strict=True))
        )
    )


class ViewMaker:
    """Makes views in the threads that decode: the image comes first, and may be slow."""

    def __init__(self, decoding: DecodeCalls, limits: InputLimits) -> None:
        self._decoding = decoding
        self._limits = limits

    async def make(
        self,
        tenant: str,
        raw: RawInput,
        count: int,
        *,
        deadline: float | None = None,
        flips: bool = False,
    ) -> list[RawInput]:
        """Makes the first views of an image, or flips, with their digests.

        Raises:
            models.InvalidInput: the image cannot be decoded, or is beyond the limits.
            DeadlineExceeded: the deadline passed before it was begun.
        """
        return await self._decoding.run(
            tenant,
            lambda: _views_of(raw, count, self._limits, flips=flips),
            cost=raw.decoding_ns + count * VIEW_NS,
            deadline=deadline,
        )


def _views_of(raw: RawInput, count: int, limits: InputLimits, *, flips: bool) -> list[RawInput]:
    make = make_flips if flips else make_views
    views = make(cast("models.RawInput", raw.content), count, limits)
    names = view_digests(raw.digest, count, flips=flips)
    return [RawInput(Kind.PIXELS, name, view) for name, view in zip(names, views, strict=True)]


async def _with_views(
    raw: RawInput | Exception,
    count: int,
    views: ViewMaker,
    tenant: str,
    deadline: float | None,
    *,
    flips: bool,
) -> InputWithViews:
    if isinstance(raw, Exception) or not count:
        return [raw]
    if not _is_image(raw):
        refusal = InvalidRequest(
            f"average_views: needs the image itself, the input is of kind {raw.kind}",
            field="average_views",
            limit=f"{Kind.IMAGE}, {Kind.PIXELS}",
            value=raw.kind,
        )
        return [refusal]
    try:
        return [raw, *await views.make(tenant, raw, count, deadline=deadline, flips=flips)]
    except (models.InvalidInput, ServiceError) as error:
        return [error]


def _is_image(raw: RawInput | Exception) -> bool:
    return isinstance(raw, RawInput) and raw.kind.modality is Modality.IMAGE
