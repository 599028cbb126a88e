"""The labelled examples nearest to what was predicted, beside the predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.access.caller import Caller, Role, in_order
from service.errors import InvalidRequest, PermissionDenied
from service.serving.neighbours import NeighbourSearch, Space
from service.store import Database, comparable
from trunkline.v1 import prediction_pb2

MAX_NEIGHBOURS = 20
_MAY_LIST = frozenset({Role.LABEL, Role.TRAIN})

NEIGHBOUR_BYTES = 64 + 256 + 32
"""Of a neighbour in a reply, without its label: digest, external id and numbers."""


def check_neighbours(count: int, caller: Caller) -> None:
    """Refuses more than there may be, and who may not list the examples.

    Raises:
        InvalidRequest, PermissionDenied: naming field, limit and value.
    """
    if count > MAX_NEIGHBOURS:
        raise InvalidRequest.at(
            "neighbours", "at most {limit} for each row, is {value}", MAX_NEIGHBOURS, count
        )
    if count and not (caller.operates or caller.roles & _MAY_LIST):
        raise PermissionDenied(
            "neighbours: are examples, which only keys with the role label or train may see",
            field="neighbours",
            limit="label or train",
            value=",".join(in_order(caller.roles)) or None,
        )


class Reasons:
    """Finds the labelled examples that are nearest to rows."""

    def __init__(self, database: Database, search: NeighbourSearch) -> None:
        self._database = database
        self._search = search

    async def of(
        self, space: Space, vectors: Sequence[NDArray[np.float32]], count: int
    ) -> list[prediction_pb2.Neighbours]:
        """Returns the `count` nearest of each row, or as many as there are.

        Args:
            vectors: the rows' embeddings, each float32 of shape (dim,).

        Raises:
            Unavailable: the store does not answer.
        """
        if not vectors:
            return []
        found = (await self._search.nearest(space, np.stack(vectors), count)).found
        digests = list({digest for row in found for digest, _ in row})
        named = await self._database.read(comparable.labelled_among, space.uid, digests)
        return [
            prediction_pb2.Neighbours(
                neighbours=[
                    prediction_pb2.Neighbour(
                        digest=digest, similarity=cosine, **named[digest]._asdict()
                    )
                    for digest, cosine in row
                    if digest in named  # or it was deleted meanwhile
                ]
            )
            for row in found
        ]
