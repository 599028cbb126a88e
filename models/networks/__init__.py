"""The networks themselves, as torch modules; needed by the torch engine, the export and tails.

A network takes the collated arrays of its preprocessor by name and returns float32 of shape
(n, dim). Importing this package imports torch; the ONNX Runtime engine does so only to export.
"""

from models.networks.base import Block, CutNetwork, Tail

__all__ = ["Block", "CutNetwork", "Tail"]
