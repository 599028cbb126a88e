"""Everything that `models` raises on purpose.

ModelError
├── InvalidInput            one input is unusable; its neighbours are not affected
└── BackboneError           the backbone cannot be loaded or cannot run
    ├── UnknownBackbone
    ├── InvalidCatalogue
    ├── UnknownEngine
    ├── WeightsMissing
    ├── DeviceUnavailable
    ├── CacheUnusable       exported graphs cannot be kept or read
    └── InvalidTail
"""

from __future__ import annotations


class ModelError(Exception):
    """Root of this package's exceptions."""


class InvalidInput(ModelError):
    """An input that no backbone can embed.

    Attributes:
        field: what is wrong, e.g. `image.pixels`.
        limit: what would have been accepted.
        value: what was given instead.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str,
        limit: int | str | None = None,
        value: int | str | None = None,
    ) -> None:
        super().__init__(f"{field}: {message} (limit: {limit}, value: {value})")
        self.field = field
        self.limit = limit
        self.value = value


class BackboneError(ModelError):
    """A backbone that cannot be loaded, or whose forward pass failed."""


class UnknownBackbone(BackboneError):
    """No backbone of this name is in the catalogue."""


class InvalidCatalogue(BackboneError):
    """A catalogue file, or what lies beside a backbone's weights, that says something wrong."""


class UnknownEngine(BackboneError):
    """No engine of this name exists."""


class WeightsMissing(BackboneError):
    """The pre-trained weights are not where they should be."""


class DeviceUnavailable(BackboneError):
    """The device is unknown, absent, or of no use to the engine."""


class CacheUnusable(BackboneError):
    """The folder of exported graphs cannot be read or written."""


class InvalidTail(BackboneError):
    """A file that holds no tail of this backbone."""
