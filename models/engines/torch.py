"""torch, on the CPU in float32 and on CUDA in bfloat16 with recorded passes."""

from __future__ import annotations

import contextlib
import copy
import gc
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from models.batch_shapes import ROWS, TOKENS, cut_into_batches, fill_bucket, shorten
from models.engines.base import Precision
from models.engines.memory import give_back_memory
from models.errors import BackboneError, DeviceUnavailable
from models.lazy_value import Lazy
from models.networks.base import CutNetwork, Tail

_log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]
Function = Callable[..., Tensor]
Record = Callable[[Function, dict[str, Tensor]], Callable[[Mapping[str, Tensor]], Tensor]]


class TorchEngine:
    """Runs a torch module.

    Args:
        network: in eval mode; the engine's from now on.
        device: `cpu` or `cuda`.
        precision: bfloat16 means autocast, with the weights of convolutions and linear layers kept
            as autocast would cast them in each pass. All others stay float32, as autocast has it.
        threads: threads of one forward pass on the CPU, for the whole process, as torch has it;
            0 leaves torch's own number.
    """

    def __init__(
        self, network: CutNetwork, device: str, precision: Precision, threads: int
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise DeviceUnavailable("this build of torch cannot use the GPU")
        if device == "cpu" and threads:
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._precision = precision
        self.tail_blocks = network.tail_blocks
        network = network.requires_grad_(False)
        # Only convolutions have four-dimensional weights: no other network is touched by it.
        network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if precision is Precision.BFLOAT16:
            for module in network.modules():
                if isinstance(module, nn.Linear | _ConvNd):
                    module.to(torch.bfloat16)
        self._network: CutNetwork | None = network
        self._example: tuple[dict[str, NDArray[Any]], tuple[int, ...]] | None = None
        self._whole = self._compute(network.forward)
        self._prefix = Lazy(self._make_prefix)
        self._finish = Lazy(self._make_finish)

    def parameters(self, *, whole: bool) -> Mapping[str, tuple[int, ...]]:
        """Return names and shapes of what can be tuned."""
        tensors = _parameters(self._part(whole))
        return {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def run(self, inputs: Arrays) -> NDArray[np.float32]:
        """Run the whole network."""
        return self._whole.run(inputs)

    def prefix(self, inputs: Arrays) -> NDArray[np.float32]:
        """Run the network up to the cut."""
        return self._prefix.get().run(inputs)

    def finish(self, inputs: Arrays) -> NDArray[np.float32]:
        """Run the network from the cut on."""
        return self._finish.get().run(inputs)

    def tail(self, tensors: Mapping[str, NDArray[np.float32]], *, whole: bool) -> TorchNetwork:
        """Copy the modules; all tensors but the given ones are the backbone's own, not copies."""
        part = self._part(whole)
        with torch.no_grad():
            own = {
                id(tensor): nn.Parameter(
                    torch.empty_like(tensor).copy_(torch.from_numpy(tensors[name])), False
                )
                for name, tensor in _parameters(part).items()
                if name in tensors
            }
        shared = {id(tensor): tensor for tensor in part.state_dict(keep_vars=True).values()}
        copied = copy.deepcopy(part, shared | own)
        return self._compute(copied.forward, sum(tensor.nbytes for tensor in own.values()))

    def warm_up(self, example: Arrays, lengths: Sequence[int]) -> None:
        """Record every bucket's passes once, on CUDA; those of the parts at their first use."""
        if self._device.type == "cuda" and self._example is None:
            self._example = (dict(example), tuple(lengths))
            self._record(self._whole, example)

    def close(self) -> None:
        """Drop the module and give its memory back."""
        self._network = None
        self._example = None
        for part in (self._whole, self._prefix, self._finish):
            part.close()
        if self._device.type == "cuda":
            gc.collect()  # libraries tie networks into knots, which would keep the memory
            torch.cuda.empty_cache()

    def _part(self, whole: bool) -> CutNetwork | Tail:
        network = self._network
        if network is None:
            raise BackboneError("the backbone is closed")
        return network if whole else network.shared_tail()

    def _make_prefix(self) -> TorchNetwork:
        network = self._part(whole=True)
        assert isinstance(network, CutNetwork)
        prefix = self._compute(network.prefix)
        if self._example is not None:
            self._record(prefix, self._example[0])
        return prefix

    def _make_finish(self) -> TorchNetwork:
        finish = self._compute(self._part(whole=False).forward)
        network = self._network
        if self._example is not None and network is not None:
            example, _ = self._example
            states = {"states": self.prefix(example)}
            if network.mask is not None:
                states["mask"] = example[network.mask]
            self._record(finish, states)
        return finish

    def _record(self, part: TorchNetwork, example: Arrays) -> None:
        if self._example is not None:
            from models.engines.cuda import CudaGraphs

            part.record(CudaGraphs().record, example, self._example[1])

    def _compute(self, function: Function, nbytes: int = 0) -> TorchNetwork:
        return TorchNetwork(function, self._device, self._precision, nbytes)


class TorchNetwork:
    """A function of modules on a device.

    Args:
        function: takes tensors by name.
        device: where the modules are.
        precision: bfloat16 means autocast.
        nbytes: memory that is this network's alone.
    """

    def __init__(
        self, function: Function, device: torch.device, precision: Precision, nbytes: int = 0
    ) -> None:
        self.nbytes = nbytes
        self._function: Function | None = function
        self._device = device
        self._precision = precision
        self._recorded: dict[tuple[int, int | None], Callable[..., Tensor]] = {}
        self._lengths: tuple[int, ...] = ()
        self._lock = threading.Lock()

    def record(self, record: Record, example: Arrays, lengths: Sequence[int]) -> None:
        """Record a pass for every bucket of rows, and of lengths if there are any.

        A function that cannot be recorded runs as it is, and so do passes of more than TOKENS.

        Args:
            record: makes of a function and inputs one for inputs of these shapes.
            example: inputs of at least one row.
            lengths: buckets of tokens, the second axis of all inputs; empty for images.
        """
        recorded: dict[tuple[int, int | None], Callable[..., Tensor]] = {}
        sizes: Sequence[int | None] = sorted(lengths, reverse=True) or [None]
        try:
            # The largest first: the smaller ones fit into its memory.
            for length in sizes:
                for rows in reversed(ROWS):
                    if length is not None and rows * length > TOKENS:
                        continue
                    filled = fill_bucket(shorten(example, length, rows), rows, length)
                    recorded[rows, length] = record(self._call, self._upload(filled))
        except RuntimeError as error:
            _log.warning("passes are not recorded as CUDA graphs: %s", error)
            return
        self._lengths = tuple(sorted(lengths))
        self._recorded = recorded

    def run(self, inputs: Arrays) -> NDArray[np.float32]:
        """Run the function. The second axis of states may come back longer than it was given."""
        rows = len(next(iter(inputs.values())))
        try:
            if not self._recorded:
                return _download(self._call(**self._upload(inputs)))
            parts = [
                self._run_bucket({name: array[part] for name, array in inputs.items()}, bucket)
                for part, bucket in cut_into_batches(rows)
            ]
            return np.concatenate(parts)
        except BackboneError:
            raise
        except Exception as error:  # kernels raise RuntimeError, IndexError, AssertionError …
            raise BackboneError(f"torch failed: {error}") from error

    def close(self) -> None:
        """Drop the modules and give their memory back."""
        self._function = None
        self._recorded = {}
        give_back_memory()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _run_bucket(self, inputs: Arrays, bucket: int) -> NDArray[np.float32]:
        rows, width = next(iter(inputs.values())).shape[:2]
        length = next((size for size in self._lengths if size >= width), None)
        pass_ = self._recorded.get((bucket, length))
        if pass_ is None:  # larger than all that was recorded
            return _download(self._call(**self._upload(fill_bucket(inputs, rows, length))))
        tensors = self._upload(fill_bucket(inputs, bucket, length))
        with self._lock:
            output = pass_(tensors)
        return _download(output[:rows])

    def _call(self, **tensors: Tensor) -> Tensor:
        function = self._function
        if function is None:
            raise BackboneError("the backbone is closed")
        with torch.no_grad(), self._autocast():
            return function(**tensors).float()

    def _upload(self, inputs: Arrays) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array).to(self._device) for name, array in inputs.items()}

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._precision is Precision.FLOAT32:
            return contextlib.nullcontext()
        # What the cache would hold is cast already; a recorded pass could not use it.
        return torch.autocast(self._device.type, dtype=torch.bfloat16, cache_enabled=False)


def _download(output: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = output.cpu().numpy()
    return array


def _parameters(part: CutNetwork | Tail) -> dict[str, Tensor]:
    return {
        name: tensor for name, tensor in part.named_tensors() if isinstance(tensor, nn.Parameter)
    }
