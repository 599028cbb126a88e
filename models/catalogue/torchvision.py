"""Backbones of torchvision: its classification networks, with the transforms of their weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from models.backbone import Modality
from models.catalogue.entries import Entry
from models.catalogue.spec import BackboneSpec
from models.downloads import torch_hub_file
from models.errors import InvalidCatalogue, UnknownBackbone
from models.image_resize import CentreCrop
from models.images import ImagePreprocessor
from models.torchvision_ops import declare_missing_operators
from models.weights import local_file


def torchvision_spec(name: str, entry: Entry, *, offline: bool = False) -> BackboneSpec:
    """Return the spec of an entry's backbone. Imports torchvision, which alone knows transforms.

    Raises:
        UnknownBackbone: torchvision has no such classification model.
        InvalidCatalogue: it has no such weights, or its network takes no images of that size.
    """
    declare_missing_operators()
    from models.networks.torchvision import torchvision_dim, torchvision_network

    model = str(entry.model)
    published = _published(name, entry)
    transform: Any = published.transforms()
    crop = _resize_and_crop(name, entry, transform)
    settings: dict[str, Any] = {
        "mean": list(transform.mean),
        "std": list(transform.std),
        "normalise": bool(entry.normalise),
        "tail_blocks": entry.tail_blocks,
    }
    if str(entry.model).startswith("vit_"):
        settings["image_size"] = crop.width
    return BackboneSpec(
        name=name,
        modality=Modality.IMAGE,
        dim=torchvision_dim(model),
        files=functools.partial(_files, name, entry, published.url, offline),
        preprocessor=lambda files, limits: ImagePreprocessor(crop, limits),
        network=functools.partial(torchvision_network, model, **settings),
        facts={"torchvision": model, **settings},
    )


def _published(name: str, entry: Entry) -> Any:
    """Return the member of the model's weights that the entry names; its best ones by default."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if entry.model not in known:
        near = ", ".join(get_close_matches(str(entry.model), known)) or ", ".join(known)
        raise UnknownBackbone(f"{name}: torchvision has no {entry.model!r}; near to it: {near}")
    members = torchvision.models.get_model_weights(str(entry.model)).__members__
    if entry.revision is None:
        return members["DEFAULT"]
    if entry.revision not in members:
        raise InvalidCatalogue(
            f"{name}: revision: must be one of {', '.join(members)}, is {entry.revision!r}"
        )
    return members[entry.revision]


def _resize_and_crop(name: str, entry: Entry, transform: Any) -> CentreCrop:
    (resize,), (crop,) = transform.resize_size, transform.crop_size
    if entry.image_size is not None:
        if "vit" in str(entry.model) and entry.image_size != crop:
            raise InvalidCatalogue(
                f"{name}: image_size: {entry.model} takes {crop}, is {entry.image_size}"
            )
        resize, crop = round(resize * entry.image_size / crop), entry.image_size
    return CentreCrop(resize, (crop, crop), transform.interpolation.value)


def _files(name: str, entry: Entry, url: str, offline: bool) -> Mapping[str, Path]:
    if entry.weights is None:
        return {"weights": torch_hub_file(name, url, offline=offline)}
    return {"weights": local_file(entry.weights, backbone=name)}
