"""The networks themselves, as torch modules; needed by the torch engine and for the export.

A module takes the collated arrays of its preprocessor by name and returns float32 of shape
(n, dim). Importing this module imports torch; the ONNX Runtime engine does so only to export.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from models.errors import BackboneError
from models.torchvision_ops import declare_missing_operators


class EfficientNetLite(nn.Module):
    """Pooled features of an EfficientNet-Lite (arXiv 1905.11946): uint8 NHWC pixels to (n, dim)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalise to (x - 127) / 128, run the trunk, average over the positions."""
        normalised = (pixels.permute(0, 3, 1, 2).to(torch.float32) - 127.0) / 128.0
        feature_map: Tensor = self.network.forward_features(normalised)  # type: ignore[operator]
        return feature_map.to(torch.float32).mean(dim=(2, 3))


class SentenceEncoder(nn.Module):
    """Mean-pooled, L2-normalised sentence embedding (Sentence-BERT, arXiv 1908.10084)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Average the last hidden states over the unmasked tokens; give a unit vector."""
        states = self.network(input_ids=input_ids, attention_mask=attention_mask)[0]
        weights = attention_mask.unsqueeze(-1).to(torch.float32)
        pooled = (states.to(torch.float32) * weights).sum(dim=1) / weights.sum(dim=1)
        return nn.functional.normalize(pooled, dim=1)


def efficientnet_lite0(weights: Path) -> nn.Module:
    """timm's `tf_efficientnet_lite0` with the published weights; float32, eval mode.

    The published checkpoint names its tensors differently but lists them in the same order.
    """
    declare_missing_operators()
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    published = torch.load(weights, map_location="cpu", weights_only=True)
    names = list(network.state_dict())
    if len(names) != len(published):
        raise BackboneError(f"{weights.name} holds {len(published)} tensors, not {len(names)}")
    network.load_state_dict(dict(zip(names, published.values(), strict=True)), strict=True)
    return EfficientNetLite(network).eval()


def minilm_l6_v2(weights: Path) -> nn.Module:
    """A six-layer BERT (arXiv 1810.04805) distilled as in MiniLM (arXiv 2002.10957)."""
    declare_missing_operators()
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    config = BertConfig(**json.loads((weights.parent / "config.json").read_text()))
    network = BertModel(config, add_pooling_layer=False)
    used = {
        name: tensor
        for name, tensor in load_file(weights).items()
        if not name.startswith("pooler.") and name != "embeddings.position_ids"
    }
    network.load_state_dict(used, strict=True)
    return SentenceEncoder(network).eval()
