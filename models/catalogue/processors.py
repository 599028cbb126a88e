"""Image processors of Hugging Face, as preprocessor_config.json describes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.catalogue.folders import read_json
from models.errors import BackboneError
from models.image_resize import CentreCrop

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "ViT": {"size": 224, "square": True, "resample": 2, "do_center_crop": False},
    "Bit": {"size": 224, "square": False, "resample": 3, "do_center_crop": True},
}
"""What the library's processors do unless the file says otherwise; they are named after networks.
`square` says what a size means that is a single number; Pillow numbers the filters."""

_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")


def read_processor(path: Path) -> tuple[CentreCrop, list[float], list[float]]:
    """Read resize and crop, and the mean and deviation of pixels between 0 and 1.

    Raises:
        WeightsMissing: there is no such file.
        BackboneError: it describes something that is not known, or is broken.
    """
    config = read_json(path)
    try:
        kind = str(config.get("image_processor_type") or config.get("feature_extractor_type"))
        own = next((own for name, own in _DEFAULTS.items() if kind.startswith(name)), None)
        if own is None or not config.get("do_resize", True):
            known = ", ".join(f"{name}ImageProcessor" for name in _DEFAULTS)
            raise BackboneError(
                f"image_processor_type must be one of {known} that resize, is {kind}"
            )
        config = {**own, "crop_size": 224, **config}
        return _resize_and_crop(config), *_normalisation(config)
    except BackboneError as error:
        raise BackboneError(f"{path}: {error}") from error
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise BackboneError(f"{path}: what it says cannot be understood: {error!r}") from error


def _resize_and_crop(config: Mapping[str, Any]) -> CentreCrop:
    size, crop = config["size"], config["crop_size"]
    if isinstance(size, int):
        size = _square(size) if config["square"] else {"shortest_edge": size}
    if not config["do_center_crop"]:
        crop = size
    elif isinstance(crop, int):
        crop = _square(crop)
    resize = size.get("shortest_edge") or (size["height"], size["width"])
    cut = (crop["height"], crop["width"])
    return CentreCrop(resize, cut, _FILTERS[config["resample"]], rounding="down")


def _normalisation(config: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Write (x * factor - mean) / deviation of bytes x for pixels x / 255."""
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1
    scale = 1 / (255 * factor)
    if not config.get("do_normalize", True):
        return [0.0] * 3, [scale] * 3
    return [m * scale for m in config["image_mean"]], [s * scale for s in config["image_std"]]


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}
