"""Batch normalisation with fixed statistics, folded into the convolutions before it.

With statistics that stand still, a convolution with weights W and a normalisation with scale g,
shift b, mean m and variance v are a convolution with weights W s and bias b - m s, where
s = g / sqrt(v + eps). What is learned stays W, g and b: the folded weights are computed of them at
every step, and gradients flow through. Nothing is normalised position by position any more.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

TOLERANCE = 1e-3
"""Largest difference, as a share of the largest number, that folding may make on a sample."""


@dataclass(frozen=True, eq=False)
class _Pair:
    """A convolution whose result goes into a normalisation and nowhere else."""

    convolution: nn.Module
    normalisation: nn.Module
    weight: Tensor
    bias: Tensor | None

    def fold(self) -> None:
        """Set the convolution's weights to those of both."""
        norm: Any = self.normalisation
        scale = torch.rsqrt(norm.running_var + norm.eps)
        shift = -norm.running_mean if self.bias is None else self.bias - norm.running_mean
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = shift * scale
        if norm.bias is not None:
            shift = shift + norm.bias
        self.convolution.weight = self.weight * scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        self.convolution.bias = shift


class Folded(nn.Module):
    """A tail that computes what the given one does, faster, from the same parameters.

    Args:
        tail: in evaluation mode; its parameters are shared, the module itself stays as it is.
        states: a sample of what enters it, to see which modules follow one another.
        mask: the sample's mask, or None.
    """

    def __init__(self, tail: nn.Module, states: Tensor, mask: Tensor | None) -> None:
        super().__init__()
        with torch.no_grad():
            found = _observe(tail, states, mask)
            expected = tail(states, mask)
            self.network, self._pairs = _rebuild(tail, found)
            if self._pairs:
                off = (self(states, mask) - expected).abs().max()
                if not off <= TOLERANCE * expected.abs().max():
                    self.network, self._pairs = _rebuild(tail, [])

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what the tail returns."""
        for pair in self._pairs:
            pair.fold()
        embeddings: Tensor = self.network(states, mask)
        return embeddings


def _observe(tail: nn.Module, states: Tensor, mask: Tensor | None) -> list[tuple[str, str]]:
    """Return the names of convolutions, each run once, and the normalisations they run into."""
    names = {module: name for name, module in tail.named_modules()}
    made: dict[int, tuple[nn.Module, Tensor]] = {}
    pairs: list[tuple[str, str]] = []
    runs: dict[nn.Module, int] = {}

    def after(module: nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        runs[module] = runs.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            made[id(result)] = module, result  # held, so that no other gets its id

    def before(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        maker = made.get(id(arguments[0])) if arguments else None
        if maker is not None and _foldable(module):
            pairs.append((names[maker[0]], names[module]))

    handles = [
        handle
        for module in names
        for handle in (
            module.register_forward_hook(after),
            module.register_forward_pre_hook(before),
        )
    ]
    try:
        tail(states, mask)
    finally:
        for handle in handles:
            handle.remove()
    once = {names[module] for module, count in runs.items() if count == 1}
    return [pair for pair in pairs if once.issuperset(pair)]


def _foldable(module: nn.Module) -> bool:
    """Return whether it normalises with kept statistics and applies at most an `act` then."""
    known = type(module) is nn.BatchNorm2d or hasattr(module, "act")
    return isinstance(module, _BatchNorm) and known and module.running_mean is not None


def _rebuild(tail: nn.Module, names: list[tuple[str, str]]) -> tuple[nn.Module, list[_Pair]]:
    """Return a copy that shares all parameters and buffers, and what is to be folded in it."""
    shared = {id(tensor): tensor for tensor in (*tail.parameters(), *tail.buffers())}
    network = copy.deepcopy(tail, shared)
    pairs = []
    for first, second in names:
        convolution, norm = network.get_submodule(first), network.get_submodule(second)
        weight, bias = convolution.weight, convolution.bias
        assert isinstance(weight, Tensor)
        assert bias is None or isinstance(bias, Tensor)
        pairs.append(_Pair(convolution, norm, weight, bias))
        # Plain attributes from now on, set anew by every fold.
        del convolution.weight, convolution.bias
        parent, _, name = second.rpartition(".")
        setattr(network.get_submodule(parent), name, getattr(norm, "act", nn.Identity()))
    return network, pairs
