"""Networks of timm without their classifier.

| family                    | blocks                   | after the cut                |
| ------------------------- | ------------------------ | ---------------------------- |
| ResNet                    | residual blocks          | those of layer4              |
| EfficientNet, MobileNetV3 | inverted residual blocks | the last third               |
| RegNet                    | residual blocks          | the last third               |
| ConvNeXt                  | residual blocks          | those of the last stage      |
| VisionTransformer         | layers                   | the last third               |
| any other                 | one                      | nothing: it is not to be cut |

A network belongs to a family if it is run as the family is, whatever its class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import BackboneError
from models.networks.base import Block, CutNetwork
from models.networks.checkpoints import read_tensors
from models.networks.pixels import (
    Anatomy,
    FirstToken,
    Flatten,
    PatchMean,
    PixelStem,
    WholeNetwork,
    assemble,
    layers,
)
from models.torchvision_ops import declare_missing_operators

declare_missing_operators()

import timm  # noqa: E402
from timm.models.convnext import ConvNeXt  # noqa: E402
from timm.models.efficientnet import EfficientNet  # noqa: E402
from timm.models.mobilenetv3 import MobileNetV3  # noqa: E402
from timm.models.regnet import RegNet  # noqa: E402
from timm.models.resnet import ResNet  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

library: Any = timm  # whose annotations do not cover what its factories take and give


def timm_network(
    model: str,
    weights: Path,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    image_size: int | None,
    normalise: bool,
    tail_blocks: int | None,
) -> CutNetwork:
    """Build a network of timm that gives what its classifier gets.

    Args:
        model: its name, with or without a tag.
        weights: tensors as timm saves them, or as those did who published them; the classifier
            among them may have any number of classes.
        mean, std: per channel, of pixels between 0 and 1.
        image_size: pixels along each side, for networks that have to know it; else None.
        normalise: whether embeddings become unit vectors.
        tail_blocks: blocks after the cut, 0 for none; None for the family's own number.

    Raises:
        BackboneError: the weights cannot be read or do not fit, or there are not so many blocks.
    """
    tensors = read_tensors(weights)
    classes = _classes(model, tensors)
    try:
        network = library.create_model(
            model,
            pretrained=True,
            num_classes=classes,
            img_size=image_size,
            pretrained_cfg_overlay={"state_dict": tensors, "num_classes": classes},
        )
    except (RuntimeError, KeyError, AttributeError) as error:  # also of the filters of old formats
        raise BackboneError(f"{weights} does not fit timm's {model}: {error}") from error
    network.pretrained_cfg["state_dict"] = None  # would keep the tensors as they came
    network.reset_classifier(0)
    stem = functools.partial(PixelStem, mean, std)
    family = next((make for kind, make in _FAMILIES.items() if _runs_as(network, kind)), _uncut)
    return assemble(family(network, stem), tail_blocks=tail_blocks, normalise=normalise)


def timm_dim(model: str) -> int:
    """Return the length of the embeddings, without making a network of that size."""
    with torch.device("meta"):
        return int(library.create_model(model).head_hidden_size)


def _classes(model: str, tensors: Mapping[str, Tensor]) -> int:
    """Return how many classes the weights tell apart; as many as published if they do not say."""
    published = library.get_pretrained_cfg(model)
    names = published.classifier if published else None
    for name in [names] if isinstance(names, str) else names or ():
        if f"{name}.bias" in tensors:
            return len(tensors[f"{name}.bias"]) - (published.label_offset or 0)
    return published.num_classes if published else 1000


def _runs_as(network: nn.Module, kind: type[Any]) -> bool:
    own = type(network)
    return isinstance(network, kind) and all(
        getattr(own, way) is getattr(kind, way)
        for way in ("forward", "forward_features", "forward_head")
    )


_Stem = Callable[[Mapping[str, nn.Module]], PixelStem]


def _resnet(network: Any, stem: _Stem) -> Anatomy:
    blocks = layers(network, "layer1", "layer2", "layer3", "layer4")
    blocks[-1]["global_pool"] = network.global_pool
    first = _named(network, "conv1", "bn1", "act1", "maxpool")
    return Anatomy(stem(first), _blocks(blocks), Flatten(), len(network.layer4))


def _inverted_residuals(network: Any, stem: _Stem) -> Anatomy:
    blocks = layers(network, *(f"blocks.{stage}" for stage in range(len(network.blocks))))
    if isinstance(network, MobileNetV3):
        blocks[-1] |= _named(network, "global_pool", "conv_head", "norm_head", "act2", "flatten")
    else:
        blocks[-1] |= _named(network, "conv_head", "bn2", "global_pool")
    return Anatomy(stem(_named(network, "conv_stem", "bn1")), _blocks(blocks), Flatten())


def _regnet(network: Any, stem: _Stem) -> Anatomy:
    blocks = layers(network, "s1", "s2", "s3", "s4")
    blocks[-1] |= _named(network, "final_conv", "head")
    return Anatomy(stem(_named(network, "stem")), _blocks(blocks), Flatten())


def _convnext(network: Any, stem: _Stem) -> Anatomy:
    blocks: list[dict[str, nn.Module]] = []
    for i, stage in enumerate(network.stages):
        if blocks:  # the first stage halves nothing
            blocks[-1][f"stages.{i}.downsample"] = stage.downsample
        blocks += layers(network, f"stages.{i}.blocks")
    blocks[-1] |= _named(network, "norm_pre", "head")
    first = _named(network, "stem") | {"stages.0.downsample": network.stages[0].downsample}
    return Anatomy(stem(first), _blocks(blocks), Flatten(), len(network.stages[-1].blocks))


class _VisionStem(VisionTransformer):
    """A VisionTransformer without its layers, because adding positions is a method of it."""

    def __init__(self, pixels: PixelStem, network: VisionTransformer) -> None:
        nn.Module.__init__(self)
        registries = ("_modules", "_parameters", "_buffers")
        self.__dict__ |= {k: v for k, v in vars(network).items() if k not in registries}
        for name in ("patch_embed", "pos_drop", "patch_drop", "norm_pre"):
            setattr(self, name, network.get_submodule(name))
        for name in ("cls_token", "reg_token", "pos_embed"):
            setattr(self, name, getattr(network, name))
        self.pixels = pixels

    def forward(self, pixels: Tensor) -> Tensor:  # type: ignore[override]
        states = self._pos_embed(self.patch_embed(self.pixels(pixels)))
        states = self.norm_pre(self.patch_drop(states))
        assert isinstance(states, Tensor)
        return states


class _Normed(nn.Module):
    """A pool and the normalisation that comes after it, which stays as it is."""

    def __init__(self, pool: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.pool, self.norm = pool, norm

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        pooled: Tensor = self.norm(self.pool(states, mask)).to(torch.float32)
        return pooled


def _vision_transformer(network: Any, stem: _Stem) -> Anatomy:
    if network.attn_pool is not None or network.global_pool not in ("token", "avg"):
        return _uncut(network, stem)
    blocks = layers(network, "blocks")
    blocks[-1]["norm"] = network.norm
    skipped = 0 if network.pool_include_prefix else network.num_prefix_tokens
    pool = FirstToken() if network.global_pool == "token" else PatchMean(skipped)
    return Anatomy(_VisionStem(stem({}), network), _blocks(blocks), _Normed(pool, network.fc_norm))


def _uncut(network: Any, stem: _Stem) -> Anatomy:
    return Anatomy(stem({}), [WholeNetwork(network)], Flatten())


_FAMILIES: Mapping[type[Any], Callable[[Any, _Stem], Anatomy]] = {
    ResNet: _resnet,
    EfficientNet: _inverted_residuals,
    MobileNetV3: _inverted_residuals,
    RegNet: _regnet,
    ConvNeXt: _convnext,
    VisionTransformer: _vision_transformer,
}


def _named(network: nn.Module, *names: str) -> dict[str, nn.Module]:
    return {name: network.get_submodule(name) for name in names}


def _blocks(parts: Sequence[Mapping[str, nn.Module]]) -> list[Block]:
    return [Block(part) for part in parts]
