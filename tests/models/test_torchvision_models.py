"""torchvision's networks: files that it saved give what it computes itself."""

from __future__ import annotations

import tempfile
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import BackboneError, InvalidCatalogue, UnknownBackbone
from tests.models.catalogues import assert_close, assert_parts_join, embed, load_configured
from tests.models.networks import save_torchvision_network

pytestmark = pytest.mark.costly

Photos = list[NDArray[np.uint8]]

TAILS = {
    "resnet18": ("layer4.0", "layer4.1"),
    "resnet50": ("layer4.0", "layer4.1", "layer4.2"),
    "efficientnet_b0": tuple(f"features.{i}" for i in ("6.0", "6.1", "6.2", "6.3", "7.0")),
    "efficientnet_v2_s": tuple(f"features.6.{i}" for i in range(2, 15)),
    "vgg11": ("features.16", "classifier.0", "classifier.3"),
    "vgg16": ("features.24", "classifier.0", "classifier.3"),
    "convnext_tiny": ("features.7.0", "features.7.1", "features.7.2"),
    "vit_b_16": tuple(f"encoder.layers.encoder_layer_{i}" for i in range(8, 12)),
    "mobilenet_v3_small": ("features.9", "features.10", "features.11"),
    "densenet121": (),
    "squeezenet1_1": (),
    "googlenet": (),
}
"""What follows the cut, of the networks that are compared in the engine of torch."""

LARGER = {"resnet50", "efficientnet_v2_s", "vgg16"}
"""Those of whose family a smaller one is compared as well."""

EXPORTED = [
    "mobilenet_v3_small",
    "resnet18",
    "efficientnet_b0",
    "vgg11",
    "convnext_tiny",
    "vit_b_16",
]
"""The smallest of each family, which are compared in ONNX Runtime, too."""


def long_ones(models: Iterable[str], long: Container[str]) -> list[Any]:
    """Parameters of a test, of which some take long."""
    return [pytest.param(model, marks=[pytest.mark.long] * (model in long)) for model in models]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is gone after the test: some networks have half a gigabyte of weights."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def library_embeddings(
    model: str, network: Any, photos: Photos, weights: str = "DEFAULT"
) -> NDArray[np.float32]:
    """What the library's own transform and network give the classifier's last layer."""
    import torch
    import torchvision
    from torch import nn

    transform = torchvision.models.get_model_weights(model)[weights].transforms()
    pixels = torch.stack([transform(Image.fromarray(photo)) for photo in photos])
    seen = []
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    with torch.inference_mode():
        if not linear:  # SqueezeNet's classifier is a convolution
            return np.asarray(network.features(pixels).mean(dim=(2, 3)).numpy())
        linear[-1].register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
        network(pixels)
    return np.asarray(seen[-1].numpy())


@pytest.mark.long
@pytest.mark.parametrize("model", long_ones(TAILS, LARGER))
def test_embedding_is_what_the_last_linear_layer_gets(
    model: str, folder: Path, photos: Photos
) -> None:
    network = save_torchvision_network(model, folder / "w.pth")
    expected = library_embeddings(model, network, photos)
    backbone = load_configured(folder, source="torchvision", model=model, weights="w.pth")
    assert_close(embed(backbone, photos), expected)
    assert (backbone.dim, backbone.tail_blocks) == (expected.shape[1], TAILS[model])
    if backbone.cut:
        assert_parts_join(backbone, photos)


@pytest.mark.long
def test_vision_transformer_is_built_for_the_size_that_its_weights_are_for(
    folder: Path, photos: Photos
) -> None:
    weights = "IMAGENET1K_SWAG_E2E_V1"
    network = save_torchvision_network("vit_b_16", folder / "w.pth", image_size=384)
    expected = library_embeddings("vit_b_16", network, photos[:1], weights)
    backbone = load_configured(
        folder, source="torchvision", model="vit_b_16", weights="w.pth", revision=weights
    )
    assert_close(embed(backbone, photos[:1]), expected)


@pytest.mark.long
@pytest.mark.parametrize("model", long_ones(EXPORTED, EXPORTED[1:]))
def test_onnx_runtime_agrees_with_the_library(
    model: str, folder: Path, cache_dir: Path, photos: Photos
) -> None:
    network = save_torchvision_network(model, folder / "w.pth")
    expected = library_embeddings(model, network, photos)
    backbone = load_configured(
        folder,
        engine="onnxruntime",
        cache_dir=cache_dir if model == EXPORTED[0] else folder,  # the others are large
        source="torchvision",
        model=model,
        weights="w.pth",
    )
    assert_close(embed(backbone, photos), expected)
    assert_parts_join(backbone, photos)


def test_tensors_after_the_cut_have_the_librarys_names(folder: Path) -> None:
    from models.networks.torchvision import torchvision_network

    network = save_torchvision_network("mobilenet_v3_small", folder / "w.pth")
    ours = torchvision_network(
        "mobilenet_v3_small",
        folder / "w.pth",
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        normalise=False,
        tail_blocks=None,
    )
    theirs = {name for name in network.state_dict() if not name.startswith("classifier.3.")}
    assert {name for name, _ in ours.named_tensors()} == theirs


def test_classifier_may_have_any_number_of_classes_and_any_wrapping(
    folder: Path, photos: Photos
) -> None:
    import torch

    network = save_torchvision_network("resnet18", folder / "w.pth")
    plain = load_configured(folder, source="torchvision", model="resnet18", weights="w.pth")
    expected = embed(plain, photos)
    network.fc = torch.nn.Linear(512, 3)
    tensors = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"model": tensors, "epoch": 3}, folder / "own.pth")
    own = load_configured(folder, source="torchvision", model="resnet18", weights="own.pth")
    assert_close(embed(own, photos), expected, tolerance=1e-6)
    assert own.fingerprint != plain.fingerprint


def test_configuration_decides_size_length_and_cut(folder: Path, photos: Photos) -> None:
    save_torchvision_network("resnet18", folder / "w.pth")
    common = {"source": "torchvision", "model": "resnet18", "weights": "w.pth"}
    plain = load_configured(folder, **common)
    small = load_configured(folder, **common, image_size=64, normalise=True, tail_blocks=0)
    assert small.preprocess(photos[0]).data.shape == (64, 64, 3)
    np.testing.assert_allclose(np.linalg.norm(embed(small, photos), axis=1), 1, atol=1e-5)
    assert (small.cut, small.tail_blocks) == ("", ())
    with pytest.raises(BackboneError, match="cannot be cut"):
        small.activations([small.preprocess(photos[0])])
    deep = load_configured(folder, **common, tail_blocks=1)
    assert deep.tail_blocks == ("layer4.1",)
    assert len({plain.fingerprint, small.fingerprint, deep.fingerprint}) == 3


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    save_torchvision_network("resnet18", folder / "w.pth")
    with pytest.raises(BackboneError, match=r"w\.pth does not fit MobileNetV3: it lacks"):
        load_configured(folder, source="torchvision", model="mobilenet_v3_small", weights="w.pth")
    with pytest.raises(BackboneError, match=r"tail_blocks: must be less than .* 8 blocks, is 8"):
        load_configured(
            folder, source="torchvision", model="resnet18", weights="w.pth", tail_blocks=8
        )


def test_code_in_a_file_of_weights_is_not_run(folder: Path) -> None:
    import torch

    torch.save({"fc.weight": print}, folder / "w.pth")
    with pytest.raises(BackboneError, match=r"w\.pth cannot be read as weights"):
        load_configured(folder, source="torchvision", model="resnet18", weights="w.pth")


def test_what_torchvision_does_not_have_is_refused_with_what_it_has(folder: Path) -> None:
    (folder / "w.pth").touch()
    common = {"source": "torchvision", "weights": "w.pth"}
    with pytest.raises(UnknownBackbone, match=r"near to it: .*resnet50"):
        load_configured(folder, **common, model="resnet51")
    with pytest.raises(UnknownBackbone, match="fcn_resnet50"):
        load_configured(folder, **common, model="fcn_resnet50")  # no classification
    with pytest.raises(InvalidCatalogue, match=r"revision: must be one of .*IMAGENET1K_V1.*V9"):
        load_configured(folder, **common, model="resnet50", revision="IMAGENET1K_V9")
    with pytest.raises(InvalidCatalogue, match="image_size: vit_b_16 takes 224, is 64"):
        load_configured(folder, **common, model="vit_b_16", image_size=64)
