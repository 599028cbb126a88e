"""Where a backbone's exported graphs lie; importing this imports no framework.

    <folder>/whole.onnx           inputs to embeddings
    <folder>/prefix.onnx          inputs to the states at the cut
    <folder>/tail.onnx            states at the cut to embeddings
    <folder>/prefix.safetensors   parameters before the cut, or all of them where there is none
    <folder>/tail.safetensors     parameters after the cut

The graphs hold no parameters: they point into the two other files, under the names of the
library that the network is from. So one file of weights serves the whole and its parts, and a
tenant's own weights can take the place of the backbone's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from models.errors import BackboneError

FOLDER = "graphs-3"
"""In a backbone's folder of the cache; another number when the export changes in any way."""
OLD = "graph-*.onnx"
"""Beside that folder: whole graphs of versions that knew no parts, which nobody reads any more."""
WHOLE = "whole.onnx"
PREFIX = "prefix.onnx"
TAIL = "tail.onnx"
PREFIX_WEIGHTS = "prefix.safetensors"
TAIL_WEIGHTS = "tail.safetensors"
TAIL_BLOCKS = "trunkline.tail_blocks"
"""Key in the metadata of the whole graph: JSON, the names of the blocks after the cut."""
UNREAD = "trunkline.unread"
"""Key in the metadata of a file of weights: JSON, the names of those that no result depends on."""


@dataclass(frozen=True)
class Parameters:
    """What can be tuned.

    Attributes:
        shapes: by name.
        unread: those among them that no graph knows, because no result depends on them.
    """

    shapes: Mapping[str, tuple[int, ...]]
    unread: Set[str]


def graph_path(cache: Path) -> Path:
    """Return where the whole graph is kept in a backbone's folder of the cache."""
    return cache / FOLDER / WHOLE


def read_parameters(*weights: Path) -> Parameters:
    """Read names and shapes from the headers of files of weights; a missing file has none.

    Raises BackboneError.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    unread: set[str] = set()
    for path in filter(Path.exists, weights):
        try:
            with safe_open(path, framework="numpy") as file:
                unread |= set(json.loads((file.metadata() or {})[UNREAD]))
                for name in file.keys():  # noqa: SIM118
                    shapes[name] = tuple(file.get_slice(name).get_shape())
        except (SafetensorError, KeyError, ValueError) as error:
            message = f"{path} cannot be read: {error!r}; delete {path.parent} to export it anew"
            raise BackboneError(message) from error
    return Parameters(shapes, unread)
