"""timm's networks: files that it saved give what it computes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import BackboneError, UnknownBackbone, WeightsMissing
from tests.models.catalogues import assert_close, assert_parts_join, embed, load_configured
from tests.models.networks import save_timm_network, timm_library

pytestmark = pytest.mark.costly

Photos = list[NDArray[np.uint8]]

CUTS = {
    "test_resnet.r160_in1k": "layer4.0",
    "test_efficientnet.r160_in1k": "blocks.4.0",
    "mobilenetv3_small_050.lamb_in1k": "blocks.4.0",
    "test_convnext.r160_in1k": "stages.3.blocks.0",
    "regnetx_002.pycls_in1k": "s4.b4",
    "test_vit.r160_in1k": "blocks.4",
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": "blocks.8",
    "test_vit3.r160_in1k": "",
    "test_nfnet.r160_in1k": "",
    "test_byobnet.r160_in1k": "",
}
"""First block after the cut; small networks, of the families that are cut and of others."""

EXPORTED = ["test_resnet.r160_in1k", "test_vit.r160_in1k", "test_convnext.r160_in1k"]


def library_embeddings(network: Any, photos: Photos) -> NDArray[np.float32]:
    """What the library's own preprocessing and network give the classifier."""
    import torch

    timm = timm_library()
    config = timm.data.resolve_data_config({}, model=network)
    transform = timm.data.create_transform(**config)
    pixels = torch.stack([transform(Image.fromarray(photo)) for photo in photos])
    with torch.inference_mode():
        states = network.forward_features(pixels)
        return np.asarray(network.forward_head(states, pre_logits=True).numpy())


@pytest.mark.parametrize("model", CUTS)
def test_embedding_is_what_the_classifier_gets(model: str, tmp_path: Path, photos: Photos) -> None:
    network = save_timm_network(model, tmp_path / "w.safetensors")
    expected = library_embeddings(network, photos)
    backbone = load_configured(tmp_path, source="timm", model=model, weights="w.safetensors")
    assert_close(embed(backbone, photos), expected)
    assert (backbone.dim, backbone.cut) == (expected.shape[1], CUTS[model])
    if backbone.cut:
        assert_parts_join(backbone, photos)


@pytest.mark.long
@pytest.mark.parametrize("model", EXPORTED)
def test_onnx_runtime_agrees_with_the_library(
    model: str, tmp_path: Path, cache_dir: Path, photos: Photos
) -> None:
    network = save_timm_network(model, tmp_path / "w.safetensors")
    expected = library_embeddings(network, photos)
    backbone = load_configured(
        tmp_path,
        engine="onnxruntime",
        cache_dir=cache_dir,
        source="timm",
        model=model,
        weights="w.safetensors",
    )
    assert_close(embed(backbone, photos), expected)
    assert_parts_join(backbone, photos)


@pytest.mark.parametrize("model", ["test_vit.r160_in1k", "test_convnext.r160_in1k"])
def test_blocks_and_stem_have_the_librarys_names(model: str, tmp_path: Path) -> None:
    from models.networks.timm import timm_network

    network = save_timm_network(model, tmp_path / "w.safetensors")
    network.reset_classifier(0)
    ours = timm_network(
        model,
        tmp_path / "w.safetensors",
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        image_size=None,
        normalise=False,
        tail_blocks=None,
    )
    assert {name for name, _ in ours.named_tensors()} == set(network.state_dict())


def test_own_classes_and_own_size_load(tmp_path: Path, photos: Photos) -> None:
    network = save_timm_network("test_vit.r160_in1k", tmp_path / "w.safetensors", num_classes=3)
    common = {"source": "timm", "model": "test_vit", "weights": "w.safetensors"}
    backbone = load_configured(tmp_path, **common)
    assert_close(embed(backbone, photos), library_embeddings(network, photos))
    smaller = load_configured(tmp_path, **common, image_size=96)
    assert smaller.preprocess(photos[0]).data.shape == (96, 96, 3)
    assert embed(smaller, photos).shape == (2, smaller.dim)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_timm_network("test_vit.r160_in1k", tmp_path / "w.safetensors")
    with pytest.raises(BackboneError, match=r"w\.safetensors does not fit timm's test_resnet"):
        load_configured(tmp_path, source="timm", model="test_resnet", weights="w.safetensors")


def test_what_timm_does_not_have_is_refused_with_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackbone, match=r"near to it: .*resnet18\."):
        load_configured(tmp_path, source="timm", model="resnet18.a9_in1k")
    with pytest.raises(UnknownBackbone, match="no_such_network"):
        load_configured(tmp_path, source="timm", model="no_such_network")
    with pytest.raises(WeightsMissing, match="nobody has published weights"):
        load_configured(tmp_path, source="timm", model="convnextv2_small")
