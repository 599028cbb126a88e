"""Settings: validated, frozen, from flags, the environment (``TRUNKLINE_…``) or a TOML file.

A flag wins over the environment, and the environment over the file that ``--config`` or
``TRUNKLINE_CONFIG`` names. Each field says what goes wrong when it is too low or too high.
"""

from service.config.environment import unknown_variables
from service.config.extractor_settings import (
    GRPC_MARGIN_BYTES,
    JSON_OVERHEAD,
    ExtractorSettings,
    StandaloneExtractorSettings,
)
from service.config.flags import parse_settings
from service.config.server_settings import ServerSettings
from service.config.sources import MIB, default_cache_dir, describe_validation, load_settings
from service.config.urls import WITH_PASSWORDS

__all__ = [
    "GRPC_MARGIN_BYTES",
    "JSON_OVERHEAD",
    "MIB",
    "WITH_PASSWORDS",
    "ExtractorSettings",
    "ServerSettings",
    "StandaloneExtractorSettings",
    "default_cache_dir",
    "describe_validation",
    "load_settings",
    "parse_settings",
    "unknown_variables",
]
