"""Depthwise convolutions that learn fast on a CPU.

Torch's gradients of depthwise convolutions with kernels above 3 x 3 take longer than those of the
pointwise convolutions around them, in bfloat16 up to a hundred times what they need. Its forward
pass is fast, and so is the gradient of 3 x 3 kernels: other gradients are made of these here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

PART = 3
"""Rows and columns of kernels whose gradients are fast."""

CHUNK = 2 * 1024 * 1024
"""Bytes of states that are worked on at once: few enough to stay in the cache."""

Pair = tuple[int, int]
"""Of rows and of columns."""


class FastDepthwise(TorchFunctionMode):
    """While it is active, depthwise convolutions in this thread use the gradients of this module.

    Those with a dilation or a multiplier stay torch's, as do all others. The result is torch's to
    rounding.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d or func is functional.conv2d:
            fast = _fast(*args, **(kwargs or {}))
            if fast is not None:
                return fast
        return func(*args, **(kwargs or {}))


def _fast(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor | None:
    """Return the convolution if it is one for this module, and gradients are wanted of it."""
    suitable = (
        groups == len(weight) == states.shape[1] > 1
        and min(weight.shape[2:]) >= PART
        and _pair(dilation) == (1, 1)
        and not isinstance(padding, str)
        and all(pad < size for pad, size in zip(_pair(padding), weight.shape[2:], strict=True))
        and states.device.type == "cpu"
    )
    learning = torch.is_grad_enabled() and (weight.requires_grad or states.requires_grad)
    if not (suitable and learning):
        return None
    assert not isinstance(padding, str)
    if torch.is_autocast_enabled("cpu"):
        narrow = torch.get_autocast_dtype("cpu")
        states, weight = states.to(narrow), weight.to(narrow)
        bias = None if bias is None else bias.to(narrow)
    convolved: Tensor = _Depthwise.apply(  # type: ignore[no-untyped-call]
        states, weight, bias, _pair(stride), _pair(padding)
    )
    return convolved


def _pair(value: int | Sequence[int]) -> Pair:
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
    ) -> Tensor:
        ctx.save_for_backward(states, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(states, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        states, weight = ctx.saved_tensors
        of_states = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_states = _of_states(gradient, states, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(gradient, states, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum(dim=(0, 2, 3), dtype=torch.float32).to(gradient.dtype)
        return of_states, of_weight, of_bias, None, None


def _of_states(
    gradient: Tensor, states: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> Tensor:
    """Convolve the gradient with the flipped kernel, zeros in the places that a stride left out."""
    n, channels, *sizes = states.shape
    kernel = weight.shape[2:]
    if stride != (1, 1):
        rows, columns = (
            size + 2 * pad - width + 1
            for size, pad, width in zip(sizes, padding, kernel, strict=True)
        )
        spread = gradient.new_zeros(n, rows, columns, channels).permute(0, 3, 1, 2)
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        gradient = spread
    edges = (kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1])
    return functional.conv2d(gradient, weight.flip(2, 3), padding=edges, groups=channels)


def _of_weight(
    gradient: Tensor, states: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> Tensor:
    """Assemble the gradient of a large kernel from those of its parts, kernels of 3 x 3."""
    part = weight.new_empty(len(weight), 1, PART, PART)
    total = torch.zeros_like(weight, dtype=torch.float32)
    few = max(1, CHUNK // (states[0].numel() * states.element_size()))
    for first in range(0, len(states), few):
        some, theirs = states[first : first + few], gradient[first : first + few]
        found = torch.empty_like(weight)
        for top in _starts(weight.shape[2]):
            for left in _starts(weight.shape[3]):
                seen = _window(some, (top, left), theirs, stride, padding)
                found[:, :, top : top + PART, left : left + PART] = _of_part(
                    theirs, seen, part, stride
                )
        total += found
    return total.to(weight.dtype)


def _window(states: Tensor, start: Pair, gradient: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Return what a part of the kernel that starts there meets of the padded states."""
    edges: list[int] = []
    for axis in (1, 0):  # columns come first
        before = padding[axis] - start[axis]
        length = (gradient.shape[2 + axis] - 1) * stride[axis] + PART
        edges += [before, length - before - states.shape[2 + axis]]
    return functional.pad(states, edges)


def _of_part(gradient: Tensor, states: Tensor, part: Tensor, stride: Pair) -> Tensor:
    backward = torch.ops.aten.convolution_backward
    settings = (None, stride, (0, 0), (1, 1), False, (0, 0), len(part), (False, True, False))
    found: Tensor = backward(gradient, states, part, *settings)[1]
    return found


def _starts(size: int) -> list[int]:
    """Return where parts begin that cover so many places, the last ones perhaps twice."""
    return [*range(0, size - PART, PART), size - PART]
