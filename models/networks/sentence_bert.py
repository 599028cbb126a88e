"""BERT as a sentence encoder (Sentence-BERT, arXiv 1908.10084)."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor, nn

from models.networks.base import CutNetwork
from models.networks.pixels import Unit
from models.networks.tokens import AttentionBlock, TokenMean
from models.torchvision_ops import declare_missing_operators

TUNED_LAYERS = 2
"""Of the six layers, those after the cut."""


class _Stem(nn.Module):
    """Token ids to the sum of word, position and type embeddings."""

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.embeddings(input_ids=input_ids)
        return states


def minilm_l6_v2(weights: Path) -> CutNetwork:
    """Build a six-layer BERT (arXiv 1810.04805) distilled as in MiniLM (arXiv 2002.10957)."""
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
    stack = enumerate(network.encoder.layer)
    layers = [AttentionBlock({f"encoder.layer.{i}": layer}) for i, layer in stack]
    return CutNetwork(
        _Stem(network.embeddings),
        layers,
        Unit(TokenMean()),
        cut=len(layers) - TUNED_LAYERS,
        mask="attention_mask",
    ).eval()
