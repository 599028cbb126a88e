"""Views of images, for test-time augmentation and for training."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from typing import cast

import models
from adapters.spec import MAX_VIEWS
from models import InputLimits, Modality
from models.views import make_flips, make_views
from service.errors import InvalidRequest
from service.requests.inputs import Kind, RawInput
from service.store.view_digests import view_digests

InputWithViews = Sequence[RawInput | Exception]
"""An input, then its views; or why there are none, alone."""


def check_views(count: int, limit: int = MAX_VIEWS) -> None:
    """Checks that no more views are asked for than there are, or than a head has.

    Raises:
        InvalidRequest: naming field, limit and value.
    """
    if count > limit:
        raise InvalidRequest(
            f"average_views: at most {limit}, is {count}",
            field="average_views",
            limit=limit,
            value=count,
        )


async def with_views(
    raws: Sequence[RawInput | Exception],
    counts: Sequence[int],
    limits: InputLimits,
    flipped: Container[int] = (),
) -> list[InputWithViews]:
    """Makes the first views of each input, in a thread.

    Args:
        counts: how many of each.
        flipped: indices of inputs whose views are flips.
    """
    if not any(counts):
        return [[raw] for raw in raws]
    return await asyncio.to_thread(
        lambda: [
            _with_views(raw, count, limits, flips=i in flipped) if count else [raw]
            for i, (raw, count) in enumerate(zip(raws, counts, strict=True))
        ]
    )


def views_of(
    raw: RawInput, count: int, limits: InputLimits, *, flips: bool = False
) -> list[RawInput]:
    """Makes the first views of an image, or flips, with their digests.

    Raises:
        models.InvalidInput: the image cannot be decoded, or is beyond the limits.
    """
    make = make_flips if flips else make_views
    views = make(cast("models.RawInput", raw.content), count, limits)
    names = view_digests(raw.digest, count, flips=flips)
    return [RawInput(Kind.PIXELS, name, view) for name, view in zip(names, views, strict=True)]


def _with_views(
    raw: RawInput | Exception, count: int, limits: InputLimits, *, flips: bool
) -> InputWithViews:
    if isinstance(raw, Exception):
        return [raw]
    if raw.kind.modality is not Modality.IMAGE:
        refusal = InvalidRequest(
            f"average_views: needs the image itself, the input is of kind {raw.kind}",
            field="average_views",
            limit=f"{Kind.IMAGE}, {Kind.PIXELS}",
            value=raw.kind,
        )
        return [refusal]
    try:
        return [raw, *views_of(raw, count, limits, flips=flips)]
    except models.InvalidInput as error:
        return [error]
