"""Catalogue files for tests, and comparing what is loaded through them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import Backbone, load_backbone

TOLERANCE = 1e-4
"""Of the largest magnitude: random weights make numbers of any size."""

NAME = "own/model"


def write_catalogue(folder: Path, **fields: Any) -> Path:
    """Write a catalogue file that holds NAME alone."""
    lines = [f"{field} = {json.dumps(value)}" for field, value in fields.items()]
    path = folder / "catalogue.toml"
    path.write_text("\n".join([f'[backbones."{NAME}"]', *lines]))
    return path


def load_configured(
    folder: Path, *, engine: str = "torch", cache_dir: Path | str = "cache", **fields: Any
) -> Backbone:
    """Load a backbone through a catalogue file; graphs are kept in the folder by default."""
    return load_backbone(
        NAME,
        engine=engine,
        device="cpu",
        cache_dir=folder / cache_dir,
        threads=1,
        catalogue=write_catalogue(folder, **fields),
    )


def embed(backbone: Backbone, inputs: Sequence[Any]) -> NDArray[np.float32]:
    return backbone.forward([backbone.preprocess(raw) for raw in inputs])


def assert_close(one: NDArray[Any], other: NDArray[Any], tolerance: float = TOLERANCE) -> None:
    assert one.shape == other.shape
    largest = float(np.abs(other).max())
    assert np.isfinite(largest)
    assert largest > 0
    assert float(np.abs(one - other).max()) <= tolerance * largest


def assert_parts_join(backbone: Backbone, inputs: Sequence[Any]) -> None:
    """What follows the cut, on what comes before it, is the whole."""
    prepared = [backbone.preprocess(raw) for raw in inputs]
    assert backbone.tail_blocks[0] == backbone.cut
    finished = backbone.finish(backbone.activations(prepared))
    assert_close(finished, backbone.forward(prepared), tolerance=1e-5)
