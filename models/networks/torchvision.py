"""Classification networks of torchvision without their classifier's last layer.

| family                    | blocks                          | after the cut                    |
| ------------------------- | ------------------------------- | -------------------------------- |
| ResNet                    | residual blocks                 | those of layer4                  |
| EfficientNet, MobileNetV3 | inverted residual blocks        | the last third                   |
| VGG                       | stages, hidden layers           | the last stage, all hidden layers|
| ConvNeXt                  | residual blocks                 | those of the last stage          |
| ViT                       | layers                          | the last third                   |
| any other                 | one                             | nothing: it is not to be cut     |
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.networks.base import Block, CutNetwork
from models.networks.checkpoints import load_tensors, read_tensors
from models.networks.pixels import (
    Anatomy,
    FirstToken,
    Flatten,
    PixelStem,
    WholeNetwork,
    assemble,
    keep,
    layers,
)
from models.torchvision_ops import declare_missing_operators

_AS_PUBLISHED: Mapping[str, Mapping[str, bool]] = {
    model: {"transform_input": True, "aux_logits": True, "init_weights": False}
    for model in ("googlenet", "inception_v3")
}
"""How the networks were built whose weights are published, where that is not the default."""

_AUXILIARY = ("aux1", "aux2", "AuxLogits")
"""Further classifiers, for training only."""

_OLD_DENSENET_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def torchvision_network(
    model: str,
    weights: Path,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    normalise: bool,
    tail_blocks: int | None,
    image_size: int | None = None,
) -> CutNetwork:
    """Build a network of `torchvision.models` that gives what its last linear layer gets.

    Args:
        model: the builder's name.
        weights: tensors of the whole network, as `state_dict()` names them; the classifier among
            them may have any number of classes.
        mean, std: per channel, of pixels between 0 and 1.
        normalise: whether embeddings become unit vectors.
        tail_blocks: blocks after the cut, 0 for none; None for the family's own number.
        image_size: pixels along each side, for networks that have to know it; else None.

    Raises:
        BackboneError: the weights cannot be read or do not fit, or there are not so many blocks.
    """
    network = _build(model, **({} if image_size is None else {"image_size": image_size}))
    tensors = {
        _OLD_DENSENET_NAME.sub(r"\1\2", name): tensor
        for name, tensor in read_tensors(weights).items()
    }
    load_tensors(network, tensors, weights, but=(_classifier(network)[0], *_AUXILIARY))
    family = _FAMILIES.get(type(network).__name__, _uncut)
    anatomy = family(network, functools.partial(PixelStem, mean, std))
    return assemble(anatomy, tail_blocks=tail_blocks, normalise=normalise)


def torchvision_dim(model: str) -> int:
    """Return the length of the embeddings, without making a network of that size."""
    try:
        with torch.device("meta"):
            return _classifier(_build(model))[1]
    except NotImplementedError:  # RegNet computes its own widths with tensors
        return _classifier(_build(model))[1]


def _build(model: str, **settings: int) -> Any:
    declare_missing_operators()
    import torchvision

    settings |= _AS_PUBLISHED.get(model, {})
    if model.startswith("vgg"):
        settings["init_weights"] = False  # a second of random numbers, all to be replaced
    return torchvision.models.get_model(model, weights=None, **settings)


def _classifier(network: nn.Module) -> tuple[str, int]:
    """Return the name of the last layer and how many numbers it takes."""
    linear = [
        (name, layer.in_features)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    if linear:
        return linear[-1]
    convolution: Any = network.get_submodule("classifier.1")  # of SqueezeNet, which has no other
    return "classifier.1", convolution.in_channels


_Stem = Callable[[Mapping[str, nn.Module]], PixelStem]


def _resnet(network: Any, stem: _Stem) -> Anatomy:
    first = {name: network.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool")}
    blocks = layers(network, "layer1", "layer2", "layer3", "layer4")
    return Anatomy(stem(first), [Block(b) for b in blocks], Flatten(), len(network.layer4))


def _inverted_residuals(network: Any, stem: _Stem) -> Anatomy:
    """Take inverted residuals apart: EfficientNet nests them in stages, MobileNetV3 does not."""
    first, *stages, last = _children(network.features, "features")
    parts = []
    for name, stage in stages:
        nested = type(stage) is nn.Sequential
        parts += _children(stage, name) if nested else [(name, stage)]
    blocks = [{name: block} for name, block in parts]
    blocks[-1] |= dict([last]) | _hidden_layers(network)
    return Anatomy(stem(dict([first])), [Block(parts) for parts in blocks], Flatten())


def _vgg(network: Any, stem: _Stem) -> Anatomy:
    stages: list[dict[str, nn.Module]] = [{}]
    for name, layer in _children(network.features, "features"):
        stages[-1][name] = layer
        if isinstance(layer, nn.MaxPool2d):
            stages.append({})
    *stages, rest = stages
    assert not rest
    stages[-1] |= {"avgpool": network.avgpool, "flatten": nn.Flatten()}
    hidden: list[dict[str, nn.Module]] = []
    for name, layer in _children(network.classifier, "classifier")[:-1]:
        if isinstance(layer, nn.Linear):
            hidden.append({})
        hidden[-1][name] = layer
    blocks = [Block(parts) for parts in stages + hidden]
    return Anatomy(stem({}), blocks, Flatten(), 1 + len(hidden))


def _convnext(network: Any, stem: _Stem) -> Anatomy:
    """Take ConvNeXt apart: every second member of `features` is a stage, others halve pictures."""
    first, *members = _children(network.features, "features")
    blocks: list[dict[str, nn.Module]] = []
    for name, member in members:
        if isinstance(member[-1], nn.Conv2d):
            blocks[-1][name] = member
        else:
            blocks += [{name: block} for name, block in _children(member, name)]
    last_stage = len(network.features[-1])
    blocks[-1] |= {"avgpool": network.avgpool, "classifier.0": network.classifier[0]}
    return Anatomy(stem(dict([first])), [Block(b) for b in blocks], Flatten(), last_stage)


class _VisionStem(nn.Module):
    """Pixels to patches, with the class token before them and their positions added."""

    def __init__(self, stem: PixelStem, network: Any) -> None:
        super().__init__()
        self.pixels = stem
        keep(self, "conv_proj", network.conv_proj)
        keep(self, "class_token", network.class_token)
        keep(self, "encoder.pos_embedding", network.encoder.pos_embedding)

    def forward(self, pixels: Tensor) -> Tensor:
        own: Any = self
        patches = own.conv_proj(self.pixels(pixels)).flatten(2).transpose(1, 2)
        # No len(): it is a constant, for which an export would begin anew, in its slow way.
        first = own.class_token.expand(patches.shape[0], -1, -1)
        states: Tensor = torch.cat([first, patches], dim=1) + own.encoder.pos_embedding
        return states


def _vision_transformer(network: Any, stem: _Stem) -> Anatomy:
    blocks = layers(network, "encoder.layers")
    blocks[-1]["encoder.ln"] = network.encoder.ln
    return Anatomy(_VisionStem(stem({}), network), [Block(parts) for parts in blocks], FirstToken())


def _uncut(network: Any, stem: _Stem) -> Anatomy:
    name, _ = _classifier(network)
    if isinstance(network.get_submodule(name), nn.Linear):
        network.set_submodule(name, nn.Identity())
    else:
        network.classifier = nn.AdaptiveAvgPool2d(1)
    for unused in _AUXILIARY:
        if hasattr(network, unused):
            setattr(network, unused, None)
    return Anatomy(stem({}), [WholeNetwork(network)], Flatten())


_FAMILIES: Mapping[str, Callable[[Any, _Stem], Anatomy]] = {
    "ResNet": _resnet,
    "EfficientNet": _inverted_residuals,
    "MobileNetV3": _inverted_residuals,
    "VGG": _vgg,
    "ConvNeXt": _convnext,
    "VisionTransformer": _vision_transformer,
}


def _children(module: nn.Module, name: str) -> list[tuple[str, Any]]:
    return [(f"{name}.{child}", part) for child, part in module.named_children()]


def _hidden_layers(network: Any) -> dict[str, nn.Module]:
    """Return what lies between the features and the classifier's last layer."""
    hidden = _children(network.classifier, "classifier")[:-1]
    return {"avgpool": network.avgpool, "flatten": nn.Flatten()} | dict(hidden)
