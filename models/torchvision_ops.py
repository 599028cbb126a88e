"""Let torchvision be imported beside a torch build that it was not compiled for.

torchvision's compiled operators load only with the matching torch build; beside a CPU-only torch
the registry's CUDA build does not. Its pure-Python part then still registers shape functions for
`nms` and `qnms` and fails because the operators are unknown. timm and transformers import
torchvision and fail with it, though no backbone here uses either operator. Declaring the two
schemas is enough; calling them still fails, as it should.
"""

from __future__ import annotations

import functools
import importlib.util
from importlib.machinery import PathFinder

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@functools.cache
def declare_missing_operators() -> torch.library.Library | None:
    """Declare torchvision's operators where its C++ library does not; call before importing it.

    Returns the library that holds the declarations (they end with it), or None where nothing had
    to be declared.
    """
    if _brings_operators():
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    return library


def _brings_operators() -> bool:
    if hasattr(torch.ops.torchvision, "nms"):
        return True
    package = importlib.util.find_spec("torchvision")
    if package is None:
        return True  # not installed, nothing will ask for them
    compiled = PathFinder.find_spec("_C", package.submodule_search_locations)
    if compiled is None or compiled.origin is None:
        return False
    try:
        torch.ops.load_library(compiled.origin)
    except OSError:  # links against libraries that this torch does not have
        return False
    return hasattr(torch.ops.torchvision, "nms")
