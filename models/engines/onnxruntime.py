"""ONNX Runtime, on the CPU and on CUDA, in float32."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models import graph_paths
from models.engines.memory import give_back_memory
from models.errors import BackboneError, DeviceUnavailable
from models.lazy_value import Lazy

_CUDA = "CUDAExecutionProvider"
_FATAL_ONLY = 4
_SESSION_BYTES = 600_000
"""What a session takes beside its parameters, as measured for the tails of both embedded ones."""


class OnnxRuntimeEngine:
    """Runs an exported graph and the parts beside it; see `models.graph_paths`.

    Args:
        graph: the whole graph.
        device: `cpu` or `cuda`.
        threads: threads of one forward pass on the CPU; 0 takes every core. A tail has one: there
            may be hundreds, and each would start threads of its own.
    """

    def __init__(self, graph: Path, device: str, threads: int) -> None:
        folder = graph.parent
        self._graph = graph
        self._device = device
        self._whole = _own_part(graph, device, threads)
        self._prefix = Lazy(lambda: _own_part(folder / graph_paths.PREFIX, device, threads))
        self._finish = Lazy(lambda: _own_part(folder / graph_paths.TAIL, device, threads))
        blocks = json.loads(self._whole.metadata.get(graph_paths.TAIL_BLOCKS, "[]"))
        self.tail_blocks: tuple[str, ...] = tuple(blocks)

    def parameters(self, *, whole: bool) -> Mapping[str, tuple[int, ...]]:
        """Read the names and shapes of what can be tuned."""
        return self._parameters(whole).shapes

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Run the whole graph."""
        return self._whole.run(inputs)

    def prefix(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Run the graph up to the cut."""
        return self._prefix.get().run(inputs)

    def finish(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Run the graph from the cut on."""
        return self._finish.get().run(inputs)

    def tail(
        self, tensors: Mapping[str, NDArray[np.float32]], *, whole: bool
    ) -> OnnxRuntimeNetwork:
        """Load the graph once more, with other parameters in it.

        The session holds all parameters in a form of its own, changed or not.
        """
        graph = self._graph if whole else self._graph.parent / graph_paths.TAIL
        known = self._parameters(whole)
        read = {name: tensors[name] for name in tensors if name not in known.unread}
        size = _SESSION_BYTES + 4 * sum(math.prod(shape) for shape in known.shapes.values())
        network = OnnxRuntimeNetwork(graph, self._device, 1, read, nbytes=size)
        give_back_memory()  # of the tensors as they came
        return network

    def warm_up(self, example: Mapping[str, NDArray[Any]], lengths: Sequence[int]) -> None:
        """Do nothing: a session has its plans made when it is loaded."""

    def close(self) -> None:
        """Drop the sessions and their memory arenas."""
        for part in (self._whole, self._prefix, self._finish):
            part.close()

    def _parameters(self, whole: bool) -> graph_paths.Parameters:
        names = (
            [graph_paths.TAIL_WEIGHTS, graph_paths.PREFIX_WEIGHTS]
            if whole
            else [graph_paths.TAIL_WEIGHTS]
        )
        return graph_paths.read_parameters(*(self._graph.parent / name for name in names))


class OnnxRuntimeNetwork:
    """A session.

    Args:
        graph: the ONNX file.
        device: `cpu` or `cuda`.
        threads: threads of one forward pass on the CPU; 0 takes every core.
        tensors: numbers in place of those that the file points to, by name.
        nbytes: what the session takes.
        output: name of the output that is used; None where there is only one.
    """

    def __init__(
        self,
        graph: Path,
        device: str,
        threads: int,
        tensors: Mapping[str, NDArray[np.float32]] | None = None,
        *,
        nbytes: int = 0,
        output: str | None = None,
    ) -> None:
        self.nbytes = nbytes
        self._outputs = None if output is None else [output]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _FATAL_ONLY
        # Idle workers would spin and take the cores from the threads that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if tensors is not None:
            options.enable_cpu_mem_arena = False  # of many sessions, each would keep its peak
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in tensors.values()]
            options.add_external_initializers(list(tensors), values)
        providers = _providers(device, frugal=tensors is not None)
        try:
            self._session: onnxruntime.InferenceSession | None = onnxruntime.InferenceSession(
                graph, options, providers=providers
            )
        except Exception as error:  # the library raises classes that share no public root
            ours = graph.parent.name == graph_paths.FOLDER
            advice = f"; delete {graph.parent} to export it anew" if ours else ""
            raise BackboneError(f"ONNX Runtime cannot load {graph}: {error}{advice}") from error
        if device == "cuda" and _CUDA not in self._session.get_providers():
            raise DeviceUnavailable(
                "ONNX Runtime cannot use the GPU: its CUDA libraries are missing"
            )

    @property
    def metadata(self) -> dict[str, str]:
        """What the graph says of itself."""
        assert self._session is not None
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Run the graph."""
        session = self._session
        if session is None:
            raise BackboneError("the backbone is closed")
        try:
            (output,) = session.run(self._outputs, dict(inputs))
        except Exception as error:
            raise BackboneError(f"ONNX Runtime failed: {error}") from error
        return np.asarray(output, np.float32)

    def close(self) -> None:
        """Drop the session and give its memory back."""
        self._session = None
        give_back_memory()


def _own_part(graph: Path, device: str, threads: int) -> OnnxRuntimeNetwork:
    """Load the backbone's own graph, or a part of it."""
    network = OnnxRuntimeNetwork(graph, device, threads)
    give_back_memory()  # of the weights as they came: about as much as the session keeps
    return network


def _providers(device: str, *, frugal: bool) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if _CUDA not in onnxruntime.get_available_providers():
        raise DeviceUnavailable(
            "this build of ONNX Runtime is for the CPU: install onnxruntime-gpu"
        )
    with contextlib.redirect_stdout(sys.stderr):  # it prints what it cannot find
        onnxruntime.preload_dlls()  # CUDA and cuDNN, where they came as Python packages
    # TF32 would cut the mantissa to 10 bits and break the agreement with the CPU.
    cuda = {"use_tf32": "0"}
    if frugal:
        cuda["arena_extend_strategy"] = "kSameAsRequested"  # the default doubles it each time
    return [(_CUDA, cuda), "CPUExecutionProvider"]
