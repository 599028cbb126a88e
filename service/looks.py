"""Looks at inputs: the input itself and, if asked for, views of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import models
from adapters.spec import MAX_VIEWS
from models import InputLimits, Modality
from models.views import make_views
from service.errors import InvalidRequest
from service.inputs import Kind, RawInput
from service.store.embeddings import view_digest

Looks = Sequence[RawInput | Exception]
"""An input, then its views; or why there are none, alone."""


def check_views(count: int) -> None:
    """Refuses more views than there are.

    Raises:
        InvalidRequest: naming field, limit and value.
    """
    if count > MAX_VIEWS:
        raise InvalidRequest(
            f"average_views: at most {MAX_VIEWS}, is {count}",
            field="average_views",
            limit=MAX_VIEWS,
            value=count,
        )


async def looks_at(
    raws: Sequence[RawInput | Exception], count: int, limits: InputLimits
) -> list[Looks]:
    """Each input with its first `count` views, which are made in a thread."""
    if not count:
        return [[raw] for raw in raws]
    return await asyncio.to_thread(lambda: [_with_views(raw, count, limits) for raw in raws])


def views_of(raw: RawInput, count: int, limits: InputLimits) -> list[RawInput]:
    """The first views of an image, under the digests that their embeddings are known by.

    Raises:
        models.InvalidInput: the image cannot be decoded, or is beyond the limits.
    """
    views = make_views(cast("models.RawInput", raw.content), count, limits)
    return [
        RawInput(Kind.PIXELS, view_digest(raw.digest, index), view)
        for index, view in enumerate(views)
    ]


def _with_views(raw: RawInput | Exception, count: int, limits: InputLimits) -> Looks:
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
        return [raw, *views_of(raw, count, limits)]
    except models.InvalidInput as error:
        return [error]
