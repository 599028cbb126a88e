"""What makes tuning fast computes the same as what it stands in for."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adapters.tuning.batchnorm_folding import Folded
from adapters.tuning.fast_depthwise import FastDepthwise
from models.torchvision_ops import declare_missing_operators


class Mean(nn.Module):
    """Calls a tail of images without a mask and pools."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        pooled: Tensor = self.network(states).mean(dim=(2, 3))
        return pooled


class TwoUses(nn.Module):
    """The convolution's result is normalised, and added as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, states: Tensor) -> Tensor:
        convolved = self.convolution(states)
        added: Tensor = convolved + self.norm(convolved)
        return added


def randomised(network: nn.Module) -> nn.Module:
    """Give batch normalisation the statistics and weights of a trained network."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return network.eval()


def lite0_tail() -> nn.Module:
    declare_missing_operators()
    import timm

    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    blocks = [*network.blocks[5], *network.blocks[6], network.conv_head, network.bn2]
    return randomised(Mean(nn.Sequential(*blocks)))


def gradients(tail: nn.Module, parameters: nn.Module, states: Tensor) -> dict[str, Tensor]:
    parameters.zero_grad()
    tail(states).square().sum().backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in parameters.named_parameters()
        if parameter.grad is not None
    }


@pytest.fixture(scope="module")
def states() -> Tensor:
    return torch.randn(4, 112, 14, 14, generator=torch.Generator().manual_seed(0))


def test_a_folded_efficientnet_gives_what_timm_gives_and_learns_alike(states: Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tail = lite0_tail()
    folded = Folded(tail, states[:1], None)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    expected = tail(states)
    torch.testing.assert_close(folded(states), expected, rtol=1e-4, atol=1e-4)
    theirs = gradients(tail, tail, states)
    with FastDepthwise():
        ours = gradients(folded, tail, states.contiguous(memory_format=torch.channels_last))
    assert ours.keys() == theirs.keys() == dict(tail.named_parameters()).keys()
    for name, gradient in theirs.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(ours[name], gradient, rtol=0, atol=1e-4 * scale, msg=name)


def test_a_folded_tail_follows_its_parameters() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tail = randomised(Mean(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU())))
        states = torch.randn(2, 3, 6, 6)
    folded = Folded(tail, states, None)
    with torch.no_grad():
        for parameter in tail.parameters():
            parameter.add_(0.5)
    torch.testing.assert_close(folded(states), tail(states))


@pytest.mark.parametrize(
    "network",
    [
        TwoUses(),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)),
        nn.Sequential(*[nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)] * 2),  # run twice
    ],
)
def test_what_cannot_be_folded_stays_as_it_is(network: nn.Module) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tail = randomised(Mean(copy.deepcopy(network)))
        states = torch.randn(2, 3, 4, 4)
    folded = Folded(tail, states, None)
    torch.testing.assert_close(folded(states), tail(states))
    assert any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


@pytest.mark.parametrize("kernel", [(3, 3), (4, 5), (5, 5), (7, 7)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("padding", [(0, 0), (2, 1)])
def test_depthwise_gradients_are_those_of_torch(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    random = torch.Generator().manual_seed(0)
    channels = 6
    states = torch.randn(3, channels, 9, 8, generator=random, requires_grad=True)
    weight = torch.randn(channels, 1, *kernel, generator=random, requires_grad=True)
    bias = torch.randn(channels, generator=random, requires_grad=True)

    def run() -> tuple[Tensor, ...]:
        convolved = nn.functional.conv2d(
            states, weight, bias, stride=stride, padding=padding, groups=channels
        )
        upstream = torch.arange(convolved.numel(), dtype=torch.float32).reshape(convolved.shape)
        found = torch.autograd.grad(convolved, (states, weight, bias), upstream.cos())
        return convolved, *found

    theirs = run()
    with FastDepthwise():
        ours = run()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_other_convolutions_stay_torchs() -> None:
    random = torch.Generator().manual_seed(0)
    states = torch.randn(2, 4, 5, 5, generator=random)
    cases: list[tuple[tuple[int, ...], dict[str, Any]]] = [
        ((8, 1, 3, 3), {"groups": 4}),
        ((4, 4, 3, 3), {}),
        ((4, 1, 3, 3), {"groups": 4, "dilation": 2}),
        ((4, 1, 3, 3), {"groups": 4, "padding": "same"}),
        ((4, 1, 1, 1), {"groups": 4}),
    ]
    for shape, settings in cases:
        weight = torch.randn(shape, generator=random, requires_grad=True)
        expected = nn.functional.conv2d(states, weight, **settings)
        with FastDepthwise():
            found = nn.functional.conv2d(states, weight, **settings)
        np.testing.assert_array_equal(found.detach(), expected.detach())
        assert found.grad_fn is not None
        assert found.grad_fn.name() == "ConvolutionBackward0"
