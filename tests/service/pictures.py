"""Red and blue pictures, to learn from and to look at from several sides."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tests.service.server import InProcessServer
from trunkline.v1 import common_pb2, heads_pb2

COLOURS = {"red": (200, 40, 40), "blue": (40, 40, 200)}


def picture(label: str, index: int) -> bytes:
    """A PNG in a colour of its own, with noise."""
    random = np.random.default_rng((len(label), index))
    pixels = np.array(COLOURS[label]) + random.integers(-40, 40, (24, 24, 3))
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


PICTURES = [(picture(label, i), label) for i in range(3) for label in COLOURS]


def rows(pictures: Sequence[tuple[bytes, str]]) -> list[heads_pb2.NewExample]:
    return [
        heads_pb2.NewExample(input=common_pb2.Input(image=data), label=label)
        for data, label in pictures
    ]


def embedded(server: InProcessServer) -> int:
    """Rows that the backbone has seen."""
    return sum(map(len, server.backbone.batches))
