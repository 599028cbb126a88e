"""The catalogue: which backbones exist, and how each is put together.

Two come with Trunkline. Those of other libraries are named by a shorthand or configured in a
catalogue file; see `models.catalogue.entries`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from models.backbone import Backbone, InputLimits, Modality
from models.catalogue.embedded import EFFICIENTNET_LITE0, EMBEDDED, MINILM_L6_V2
from models.catalogue.entries import SHORTHANDS, Entry, read_entries, shorthand
from models.catalogue.loading import LoadedNetwork, load, load_network
from models.catalogue.spec import BackboneSpec
from models.errors import InvalidCatalogue, UnknownBackbone

__all__ = [
    "EFFICIENTNET_LITE0",
    "MINILM_L6_V2",
    "BackboneSpec",
    "LoadedNetwork",
    "check_backbones",
    "default_backbone",
    "known_backbones",
    "load",
    "load_backbone",
    "load_backbone_network",
]

_DEFAULTS = {Modality.IMAGE: EFFICIENTNET_LITE0.name, Modality.TEXT: MINILM_L6_V2.name}


def load_backbone(
    name: str,
    *,
    engine: str = "auto",
    device: str = "auto",
    cache_dir: Path,
    threads: int = 0,
    limits: InputLimits | None = None,
    catalogue: Path | None = None,
) -> Backbone:
    """Load a backbone of the catalogue.

    Args:
        name: one of `known_backbones(catalogue)`, or a shorthand such as `torchvision/resnet18`.
        engine: `auto`, `onnxruntime` or `torch`.
        device: `auto`, `cpu` or `cuda`.
        cache_dir: where exported graphs are kept, under their fingerprint. Without torch being
            imported at all, a graph that is there already loads in a fraction of a second.
        threads: CPU threads of one forward pass; 0 takes every core.
        limits: bounds of one input; `InputLimits()` if None.
        catalogue: file with further backbones; see `models.catalogue.entries`.

    Raises:
        UnknownBackbone, InvalidCatalogue, UnknownEngine, DeviceUnavailable, WeightsMissing: as they
            say.
        BackboneError: the weights or the cached graph cannot be read.
    """
    return load(
        _spec(name, catalogue),
        engine=engine,
        device=device,
        cache_dir=cache_dir,
        threads=threads,
        limits=limits,
    )


def load_backbone_network(
    name: str, *, engine: str = "auto", device: str = "auto", catalogue: Path | None = None
) -> LoadedNetwork:
    """Load a backbone's torch module, to tune it; this imports torch.

    Args:
        name, engine, device, catalogue: as `load_backbone` takes them; engine and device decide
            which fingerprint it has.

    Raises:
        UnknownBackbone, InvalidCatalogue, UnknownEngine, DeviceUnavailable, WeightsMissing: as they
            say.
        BackboneError: it has no torch module, or its weights cannot be read.
    """
    return load_network(_spec(name, catalogue), engine=engine, device=device)


def known_backbones(catalogue: Path | None = None) -> tuple[str, ...]:
    """Return the names in the catalogue, sorted, without shorthands. Raises InvalidCatalogue."""
    return tuple(sorted({*EMBEDDED, *_read(catalogue)}))


def check_backbones(names: Iterable[str], catalogue: Path | None = None) -> None:
    """Check that names can be resolved, without loading any library.

    Raises:
        UnknownBackbone: a name is not in the catalogue and is no shorthand.
        InvalidCatalogue: the catalogue file is wrong.
    """
    entries = _read(catalogue)
    for name in names:
        if name not in EMBEDDED:
            _find(name, entries)


def default_backbone(modality: Modality) -> str:
    """Return the name of the embedded backbone for a kind of input."""
    return _DEFAULTS[modality]


def _spec(name: str, catalogue: Path | None) -> BackboneSpec:
    return EMBEDDED.get(name) or _describe(name, _find(name, _read(catalogue)))


def _read(catalogue: Path | None) -> Mapping[str, Entry]:
    entries = {} if catalogue is None else read_entries(catalogue)
    for name in entries:
        if name in EMBEDDED:
            raise InvalidCatalogue(f"catalogue {catalogue}: {name} comes with Trunkline already")
    return entries


def _find(name: str, entries: Mapping[str, Entry]) -> Entry:
    entry = entries.get(name) or shorthand(name)
    if entry is None:
        known = ", ".join(sorted({*EMBEDDED, *entries}))
        short = ", ".join(f"{source}/…" for source in SHORTHANDS)
        raise UnknownBackbone(f"unknown backbone {name!r}; known: {known}, and {short}")
    return entry


def _describe(name: str, entry: Entry) -> BackboneSpec:
    """Return the spec of an entry's backbone; only now is its library imported."""
    if entry.source == "torchvision":
        from models.catalogue.torchvision import torchvision_spec

        return torchvision_spec(name, entry)
    if entry.source == "timm":
        from models.catalogue.timm import timm_spec

        return timm_spec(name, entry)
    if entry.source == "huggingface":
        from models.catalogue.huggingface import huggingface_spec

        return huggingface_spec(name, entry)
    from models.catalogue.onnx_files import onnx_spec

    return onnx_spec(name, entry)
