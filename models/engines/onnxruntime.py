"""ONNX Runtime, on the CPU and on CUDA, in float32."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.errors import BackboneError, DeviceUnavailable

_CUDA = "CUDAExecutionProvider"
_FATAL_ONLY = 4


class OnnxRuntimeEngine:
    """Runs an exported graph.

    Args:
        graph: the ONNX file.
        device: `cpu` or `cuda`.
        threads: threads of one forward pass on the CPU; 0 takes every core.
    """

    def __init__(self, graph: Path, device: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _FATAL_ONLY
        # Idle workers would spin and take the cores from the threads that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = _providers(device)
        try:
            self._session: onnxruntime.InferenceSession | None = onnxruntime.InferenceSession(
                graph, options, providers=providers
            )
        except Exception as error:  # the library raises classes that share no public root
            raise BackboneError(
                f"ONNX Runtime cannot load {graph}: {error}; delete the file to export it anew"
            ) from error
        if device == "cuda" and "CUDAExecutionProvider" not in self._session.get_providers():
            raise DeviceUnavailable(
                "ONNX Runtime cannot use the GPU: its CUDA libraries are missing"
            )

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Run the graph."""
        if self._session is None:
            raise BackboneError("the backbone is closed")
        try:
            (output,) = self._session.run(None, dict(inputs))
        except Exception as error:
            raise BackboneError(f"ONNX Runtime failed: {error}") from error
        return np.asarray(output, np.float32)

    def close(self) -> None:
        """Drop the session and its memory arenas."""
        self._session = None


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if _CUDA not in onnxruntime.get_available_providers():
        raise DeviceUnavailable(
            "this build of ONNX Runtime is for the CPU: install onnxruntime-gpu"
        )
    with contextlib.redirect_stdout(sys.stderr):  # it prints what it cannot find
        onnxruntime.preload_dlls()  # CUDA and cuDNN, where they came as Python packages
    # TF32 would cut the mantissa to 10 bits and break the agreement with the CPU.
    return [(_CUDA, {"use_tf32": "0"}), "CPUExecutionProvider"]
