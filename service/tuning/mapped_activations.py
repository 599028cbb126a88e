"""Activations on the disk as `adapters.tuning` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters import InvalidArgument
from adapters.spec import ViewSet
from service.store.view_digests import view_digests
from service.tuning.activation_files import SUFFIX, map_rows

TEXT_AXES = (2, 1)
"""Axes of activations of texts (tokens, width), and of their ids (tokens,); images have three."""


class StoredActivations:
    """Rows of a folder that `ActivationFiles` keeps, mapped into memory.

    Args:
        folder: where they lie.
        digests: of the examples, in their order.
        views: of each example.

    Raises:
        InvalidArgument: one of them is not there.
    """

    def __init__(self, folder: Path, digests: Sequence[str], views: ViewSet) -> None:
        self.views = views.count
        stored: dict[str, NDArray[Any]] = {}
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            stored |= map_rows(path)
        try:
            self._rows = [
                [stored[name] for name in (d, *view_digests(d, views.count, flips=views.flips))]
                for d in digests
            ]
        except KeyError as error:
            raise InvalidArgument(
                "an example was deleted meanwhile; train again",
                field="examples",
                value=str(error.args[0]),
            ) from error

    def __len__(self) -> int:
        return len(self._rows)

    def rows(
        self, examples: NDArray[np.intp], views: NDArray[np.intp]
    ) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        """Returns the states of these views, joined, and a mask of tokens; None for images."""
        found = [self._rows[i][view] for i, view in zip(examples, views, strict=True)]
        if found[0].ndim not in TEXT_AXES:
            return np.stack(found), None
        longest = max(map(len, found))
        states = np.zeros((len(found), longest, *found[0].shape[1:]), found[0].dtype)
        mask = np.zeros((len(found), longest), np.int64)
        for i, row in enumerate(found):
            states[i, : len(row)] = row
            mask[i, : len(row)] = 1
        return states, mask
