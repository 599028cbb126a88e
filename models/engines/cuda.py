"""Passes recorded as CUDA graphs: all kernels of one are launched at once."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

_WARM_UPS = 3

# torch can record but one graph at a time in a process.
_recording = threading.Lock()


class CudaGraphs:
    """Records functions as CUDA graphs that share their memory, because one runs at a time."""

    def __init__(self) -> None:
        self._stream = _side_stream()
        self._pool = torch.cuda.graph_pool_handle()

    def record(
        self, function: Callable[..., Tensor], inputs: Mapping[str, Tensor]
    ) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """Record `function` for inputs of these shapes; one recording may run at a time.

        Args:
            inputs: on the device; they are written over from now on.

        Raises:
            RuntimeError: the function does what a graph cannot hold, e.g. it asks for a number.
        """
        graph = torch.cuda.CUDAGraph()
        # The outer stream is this thread's again also when a recording breaks off.
        with _recording, torch.no_grad(), torch.cuda.stream(torch.cuda.current_stream()):
            # The first passes choose algorithms and make workspaces, which no graph can hold.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UPS):
                    function(**inputs)
            torch.cuda.current_stream().wait_stream(self._stream)
            # By thread, because others go on allocating meanwhile.
            with torch.cuda.graph(
                graph,
                pool=self._pool,
                stream=self._stream,
                capture_error_mode="thread_local",
            ):
                output = function(**inputs)

        def replay(given: Mapping[str, Tensor]) -> Tensor:
            for name, tensor in given.items():
                inputs[name].copy_(tensor)
            graph.replay()
            return output.clone()  # the next replay writes over it

        return replay


@functools.cache
def _side_stream() -> torch.cuda.Stream:
    """Return the stream of all recordings: for each one cuBLAS keeps a workspace for good."""
    return torch.cuda.Stream()
