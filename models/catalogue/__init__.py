"""The catalogue: which backbones exist, and how each is put together.

Two come with Trunkline. Those of other libraries are named by a shorthand or configured in a
catalogue file; see `models.catalogue.entries`.
"""

from models.catalogue.embedded import EFFICIENTNET_LITE0, MINILM_L6_V2
from models.catalogue.loading import LoadedNetwork, load_backbone, load_backbone_network
from models.catalogue.names import check_backbones, default_backbone, known_backbones
from models.catalogue.spec import BackboneSpec

__all__ = [
    "EFFICIENTNET_LITE0",
    "MINILM_L6_V2",
    "BackboneSpec",
    "LoadedNetwork",
    "check_backbones",
    "default_backbone",
    "known_backbones",
    "load_backbone",
    "load_backbone_network",
]
