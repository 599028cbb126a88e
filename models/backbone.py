"""The contract of a frozen backbone: raw input in, embedding out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

RawInput = bytes | str | NDArray[np.uint8]
"""Encoded image or UTF-8 text, text, or an RGB pixel tensor of shape (height, width, 3)."""


class Modality(StrEnum):
    """The kind of input a backbone looks at."""

    IMAGE = "image"
    TEXT = "text"


@dataclass(frozen=True)
class InputLimits:
    """Upper bounds of one input.

    Attributes:
        max_image_bytes: length of an encoded image. Too low refuses honest photos; too high lets
            one request hold that much memory while it waits.
        max_pixels: width x height, checked from the header before anything is decoded. Decoding
            takes up to 16 bytes of memory a pixel, most formats up to 8.
        max_side: width, and height. Decoders also take time and memory by the row.
        max_text_bytes: length of a text in UTF-8. Only the first few hundred tokens count, the
            rest costs tokenization time for nothing.
    """

    max_image_bytes: int = 16 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_side: int = 65_535
    max_text_bytes: int = 65_536

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")


@dataclass(frozen=True, eq=False)
class PreparedInput:
    """A validated input, ready to join a batch.

    Attributes:
        data: uint8 pixels of shape (height, width, 3), or int64 token ids of shape (tokens,).
        cost: work it makes for the backbone: pixels, or tokens with their padding.
        truncated: whether a text was longer than the backbone's window, so that its end is not in
            `data`.
    """

    data: NDArray[Any]
    cost: int
    truncated: bool = False


class Preprocessor(Protocol):
    """Turns raw inputs into the arrays that a backbone's network takes."""

    @property
    def parameters(self) -> dict[str, str | int | float]:
        """All that decides the outcome, decoder versions included; part of the fingerprint."""
        ...

    def prepare(self, raw: RawInput) -> PreparedInput:
        """Validate and decode one input. Thread-safe. Raises InvalidInput and nothing else."""
        ...

    def collate(self, batch: Sequence[PreparedInput]) -> dict[str, NDArray[Any]]:
        """Stack a non-empty batch into arrays, keyed by the network's argument names."""
        ...

    def sample(self) -> RawInput:
        """Return a valid input of typical cost, for the warm-up."""
        ...


class Backbone(Protocol):
    """A frozen model: preprocessing and network behind one fingerprint.

    Two backbones of equal fingerprint give equal embeddings up to float32 rounding; an embedding
    must never meet a head of another fingerprint.

    Attributes:
        name: `family/variant`.
        fingerprint: 64 hex digits over weights, preprocessing (decoder versions included),
            architecture and precision.
        dim: length of an embedding.
        engine: `onnxruntime` or `torch`.
        device: `cpu` or `cuda`.
    """

    @property
    def name(self) -> str: ...
    @property
    def modality(self) -> Modality: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def engine(self) -> str: ...
    @property
    def device(self) -> str: ...

    def preprocess(self, raw: RawInput) -> PreparedInput:
        """Validate and decode one input. Thread-safe. Raises InvalidInput and nothing else."""
        ...

    def forward(self, batch: Sequence[PreparedInput]) -> NDArray[np.float32]:
        """Embed a batch: float32 of shape (len(batch), dim), row i for input i.

        A row does not depend on its neighbours (tolerance: 1e-4 in float32, 5e-2 in bfloat16,
        relative to the largest magnitude in the row). Thread-safe.
        Raises BackboneError.
        """
        ...

    @property
    def cut(self) -> str:
        """Name of the first block after the cut; empty for a backbone that cannot be cut."""
        ...

    @property
    def tail_blocks(self) -> tuple[str, ...]:
        """Names of the blocks after the cut, from the cut to the output."""
        ...

    def activations(self, batch: Sequence[PreparedInput]) -> list[NDArray[np.float32]]:
        """Run the frozen prefix: one array for each input, without the padding of a batch.

        Of an image the shape is (channels, height, width), of a text (tokens, width); they may be
        views of one array. Thread-safe. Raises BackboneError, also where the backbone cannot be
        cut.
        """
        ...

    def finish(self, activations: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Run the backbone's own blocks after the cut: float32 of shape (n, dim).

        `finish(activations(batch))` is `forward(batch)`. Thread-safe. Raises BackboneError.
        """
        ...

    def load_tail(self, data: bytes) -> LoadedTail:
        """Make a tail of this backbone ready on its device.

        Args:
            data: a file as `models.tails.write_tail` makes it.

        Raises:
            InvalidTail: the file is none, belongs to another backbone, or names what is no
                parameter of it. Statistics of normalisation are none: they stay the backbone's.
        """
        ...

    def warm_up(self) -> None:
        """Run the network once, so that the first request does not pay for lazy set-up."""
        ...

    def close(self) -> None:
        """Free the network's memory and its tails'; whoever uses them then gets BackboneError."""
        ...


class LoadedTail(Protocol):
    """One tenant's own blocks, ready to run.

    Attributes:
        fingerprint: 64 hex digits over the backbone's fingerprint and the weights; that of the
            embeddings it gives.
        whole: whether it begins at the input, because the whole backbone was tuned.
        nbytes: memory it takes on the device.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def whole(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...

    def run(self, rows: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed rows: float32 of shape (n, dim). Thread-safe. Raises BackboneError.

        Args:
            rows: what `activations` gave for each input; for a whole backbone the `data` of each
                prepared input.
        """
        ...

    def close(self) -> None:
        """Free its memory."""
        ...
