"""Holds the frozen backbones: raw input in, embedding out.

This package knows nothing of tenants, heads, or storage; networks between machines are only asked
for weights that are nowhere on this one.
"""

from models.backbone import Backbone, InputLimits, Modality, PreparedInput, RawInput
from models.catalogue import (
    check_backbones,
    default_backbone,
    known_backbones,
    load_backbone,
    load_backbone_network,
)
from models.decode_cost import decode_cost
from models.errors import (
    BackboneError,
    CacheUnusable,
    DeviceUnavailable,
    InvalidCatalogue,
    InvalidInput,
    ModelError,
    UnknownBackbone,
    UnknownEngine,
    WeightsMissing,
)

__all__ = [
    "Backbone",
    "BackboneError",
    "CacheUnusable",
    "DeviceUnavailable",
    "InputLimits",
    "InvalidCatalogue",
    "InvalidInput",
    "Modality",
    "ModelError",
    "PreparedInput",
    "RawInput",
    "UnknownBackbone",
    "UnknownEngine",
    "WeightsMissing",
    "check_backbones",
    "decode_cost",
    "default_backbone",
    "known_backbones",
    "load_backbone",
    "load_backbone_network",
]
