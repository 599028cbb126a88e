"""Backbones of timm: any of its models, with the preprocessing of its weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from models.backbone import Modality
from models.catalogue.entries import Entry
from models.catalogue.spec import BackboneSpec
from models.downloads import hub_folder, torch_hub_file
from models.errors import BackboneError, UnknownBackbone, WeightsMissing
from models.image_resize import CentreCrop
from models.images import ImagePreprocessor
from models.weights import local_file

_FILES = ("model.safetensors", "pytorch_model.bin")
"""In a repository of the hub, the better one first."""


def timm_spec(name: str, entry: Entry, *, offline: bool = False) -> BackboneSpec:
    """Return the spec of an entry's backbone. Imports timm, which alone knows the preprocessing.

    Raises:
        UnknownBackbone: timm has no such model.
        BackboneError: its preprocessing is of a kind that is rare and not supported.
    """
    from models.networks.timm import library, timm_dim, timm_network

    model = str(entry.model)
    published = _published(name, model, library)
    config = library.data.resolve_data_config(
        {"img_size": entry.image_size}, pretrained_cfg=published
    )
    crop = _resize_and_crop(name, config)
    settings: dict[str, Any] = {
        "mean": list(config["mean"]),
        "std": list(config["std"]),
        "image_size": entry.image_size if published["fixed_input_size"] else None,
        "normalise": bool(entry.normalise),
        "tail_blocks": entry.tail_blocks,
    }
    return BackboneSpec(
        name=name,
        modality=Modality.IMAGE,
        dim=timm_dim(model),
        files=functools.partial(_files, name, entry, published, offline),
        preprocessor=lambda files, limits: ImagePreprocessor(crop, limits),
        network=functools.partial(timm_network, model, **settings),
        facts={"timm": model, **settings},
    )


def _published(name: str, model: str, timm: Any) -> Mapping[str, Any]:
    """Return what timm knows of a model's weights, by field."""
    architecture, _, _ = model.partition(".")
    try:
        timm.model_entrypoint(architecture)
        config = timm.get_pretrained_cfg(model)
    except (KeyError, RuntimeError) as error:  # no such architecture, no such tag
        known = timm.list_models(f"{architecture}*", pretrained=True) or timm.list_models()
        near = ", ".join(get_close_matches(model, known, n=5)) or ", ".join(known[:5])
        raise UnknownBackbone(f"{name}: timm has no {model!r}; near to it: {near}") from error
    fields: Mapping[str, Any] = {} if config is None else config.to_dict()
    return {"fixed_input_size": False, "hf_hub_id": None, "url": None, **fields}


def _resize_and_crop(name: str, config: Mapping[str, Any]) -> CentreCrop:
    """Return the resize and crop of timm.data.create_transform(**config) for evaluation."""
    height, width = config["input_size"][-2:]
    resize = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
    if config["crop_mode"] == "squash":
        return CentreCrop(resize, (height, width), config["interpolation"])
    if config["crop_mode"] != "center" or height != width or config["input_size"][0] != 3:
        raise BackboneError(
            f"{name}: pictures that are framed by {config['crop_mode']} to {config['input_size']} "
            "are not supported"
        )
    return CentreCrop(resize[0], (height, width), config["interpolation"])


def _files(
    name: str, entry: Entry, published: Mapping[str, Any], offline: bool
) -> Mapping[str, Path]:
    if entry.weights is not None:
        return {"weights": local_file(entry.weights, backbone=name)}
    if published["hf_hub_id"]:
        own = published.get("hf_hub_filename")
        files = (own,) if own else _FILES
        folder = hub_folder(
            name,
            published["hf_hub_id"],
            None,
            [[file] for file in files],
            lambda folder: any((folder / file).is_file() for file in files),
            offline=offline,
        )
        return {"weights": next(path for file in files if (path := folder / file).is_file())}
    if published["url"]:
        return {"weights": torch_hub_file(name, published["url"], offline=offline)}
    raise WeightsMissing(
        f"{name}: nobody has published weights for it in timm: name a file as `weights` in the "
        "catalogue file"
    )
