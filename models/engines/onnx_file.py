"""An engine for ONNX files that were made elsewhere, with inputs and outputs of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engines.base import Network
from models.engines.onnxruntime import OnnxRuntimeNetwork
from models.errors import BackboneError

Arrays = Mapping[str, NDArray[Any]]


class OnnxFileEngine:
    """Runs an ONNX file that was made elsewhere; it has no cut, as nobody knows its blocks.

    Args:
        graph: the file.
        device: `cpu` or `cuda`.
        threads: threads of one forward pass on the CPU; 0 takes every core.
        output: name of the output that is used.
        prepare: turns collated arrays into the file's own inputs.
        pool: turns the output, and the collated arrays, into embeddings (n, dim).
    """

    tail_blocks: tuple[str, ...] = ()

    def __init__(
        self,
        graph: Path,
        device: str,
        threads: int,
        *,
        output: str,
        prepare: Callable[[Arrays], Arrays],
        pool: Callable[[NDArray[np.float32], Arrays], NDArray[np.float32]],
    ) -> None:
        self._prepare, self._pool = prepare, pool
        self._network = OnnxRuntimeNetwork(graph, device, threads, output=output)

    def parameters(self, *, whole: bool) -> Mapping[str, tuple[int, ...]]:
        """Return nothing: none of it can be tuned."""
        return {}

    def run(self, inputs: Arrays) -> NDArray[np.float32]:
        """Return float32 of shape (n, dim). Raises BackboneError."""
        return self._pool(self._network.run(self._prepare(inputs)), inputs)

    def prefix(self, inputs: Arrays) -> NDArray[np.float32]:
        """Raise BackboneError."""
        raise BackboneError("an ONNX file cannot be cut")

    def finish(self, inputs: Arrays) -> NDArray[np.float32]:
        """Raise BackboneError."""
        raise BackboneError("an ONNX file cannot be cut")

    def tail(self, tensors: Mapping[str, NDArray[np.float32]], *, whole: bool) -> Network:
        """Raise BackboneError."""
        raise BackboneError("an ONNX file cannot be tuned")

    def warm_up(self, example: Arrays, lengths: Sequence[int]) -> None:
        """Do nothing: a session has its plans made when it is loaded."""

    def close(self) -> None:
        """Drop the session."""
        self._network.close()
