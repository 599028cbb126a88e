"""Frozen backbones: raw input in, embedding out.

This package knows nothing of tenants, heads, networks between machines, or storage.
"""

from models.backbone import Backbone, InputLimits, Modality, PreparedInput, RawInput
from models.catalogue import default_backbone, known_backbones, load_backbone
from models.errors import (
    BackboneError,
    DeviceUnavailable,
    InvalidInput,
    ModelError,
    UnknownBackbone,
    UnknownEngine,
    WeightsMissing,
)

__all__ = [
    "Backbone",
    "BackboneError",
    "DeviceUnavailable",
    "InputLimits",
    "InvalidInput",
    "Modality",
    "ModelError",
    "PreparedInput",
    "RawInput",
    "UnknownBackbone",
    "UnknownEngine",
    "WeightsMissing",
    "default_backbone",
    "known_backbones",
    "load_backbone",
]
