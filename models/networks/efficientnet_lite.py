"""EfficientNet-Lite (arXiv 1905.11946; the Lite variants are of TensorFlow's TPU repository)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import BackboneError
from models.networks.base import Block, CutNetwork
from models.networks.pixels import layers
from models.torchvision_ops import declare_missing_operators

TUNED_BLOCKS = 5
"""Of the 16 blocks, those after the cut."""


class _Stem(nn.Module):
    """uint8 NHWC pixels, normalised to (x - 127) / 128, through the first convolution."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = network.conv_stem, network.bn1

    def forward(self, pixels: Tensor) -> Tensor:
        normalised = (pixels.permute(0, 3, 1, 2).to(torch.float32) - 127.0) / 128.0
        states: Tensor = self.bn1(self.conv_stem(normalised))
        return states


class _Average(nn.Module):
    """The mean over all positions."""

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        if states.dtype == torch.float32:
            return states.mean(dim=(2, 3))
        # Channels last, as the states lie in memory, so that gradients come back like that.
        return states.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1, dtype=torch.float32)


def efficientnet_lite0(weights: Path) -> CutNetwork:
    """Build timm's `tf_efficientnet_lite0` with the published weights; float32, eval mode.

    The published checkpoint names its tensors differently but lists them in the same order.
    """
    declare_missing_operators()
    import timm

    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    published = torch.load(weights, map_location="cpu", weights_only=True)
    names = list(network.state_dict())
    if len(names) != len(published):
        raise BackboneError(f"{weights.name} holds {len(published)} tensors, not {len(names)}")
    network.load_state_dict(dict(zip(names, published.values(), strict=True)), strict=True)
    parts = layers(network, *(f"blocks.{stage}" for stage in range(len(network.blocks))))
    parts[-1] |= {"conv_head": network.conv_head, "bn2": network.bn2}
    blocks = [Block(part) for part in parts]
    cut = len(blocks) - TUNED_BLOCKS
    return CutNetwork(_Stem(network), blocks, _Average(), cut=cut).eval()
