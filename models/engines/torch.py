"""torch, on the CPU in float32 and on CUDA in bfloat16 (autocast)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.engines.base import Precision
from models.errors import BackboneError, DeviceUnavailable


class TorchEngine:
    """Runs a torch module.

    Args:
        network: the module, in eval mode.
        device: `cpu` or `cuda`.
        precision: bfloat16 means autocast; weights stay float32.
        threads: threads of one forward pass on the CPU, for the whole process, as torch has it;
            0 leaves torch's own number.
    """

    def __init__(self, network: nn.Module, device: str, precision: Precision, threads: int) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise DeviceUnavailable("this build of torch cannot use the GPU")
        if device == "cpu" and threads:
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._precision = precision
        network = network.requires_grad_(False)
        # Only convolutions have four-dimensional weights: no other network is touched by it.
        network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network: nn.Module | None = network

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Run the module."""
        if self._network is None:
            raise BackboneError("the backbone is closed")
        try:
            with torch.inference_mode(), self._autocast():
                tensors = {
                    name: torch.from_numpy(array).to(self._device) for name, array in inputs.items()
                }
                output: NDArray[np.float32] = self._network(**tensors).float().cpu().numpy()
        except Exception as error:  # kernels raise RuntimeError, IndexError, AssertionError …
            raise BackboneError(f"torch failed: {error}") from error
        return output

    def close(self) -> None:
        """Drop the module and give its GPU memory back to the driver."""
        self._network = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._precision is Precision.FLOAT32:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)
