"""Reading weights that others have saved; nothing in their files is ever run."""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from models.errors import BackboneError

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Names under which training scripts keep the network's tensors beside the optimizer's."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors file, or one that `torch.save` made, which may hold tensors only.

    Raises:
        BackboneError: it cannot be read, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise what they please on foreign bytes
        raise BackboneError(f"{path} cannot be read as weights: {error!r}") from error
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise BackboneError(f"{path} holds no tensors by name, as state_dict() gives them")
    # DistributedDataParallel puts this before each name.
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def load_tensors(
    network: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, but: Collection[str] = ()
) -> None:
    """Put tensors into a network, each of which has to be there and to fit.

    Args:
        path: where they are from, for the error.
        but: modules whose tensors are not looked at: classifiers, which an embedding does not
            pass, and which may have another number of classes.

    Raises:
        BackboneError: some are missing, left over or of another shape.
    """
    prefixes = tuple(f"{name}." for name in but)
    wanted = {n: t for n, t in network.state_dict().items() if not n.startswith(prefixes)}
    given = {n: t for n, t in tensors.items() if not n.startswith(prefixes)}
    faults = {
        "lacks": [
            name
            for name in wanted.keys() - given.keys()
            if not name.endswith("num_batches_tracked")
        ],
        "has no place for": list(given.keys() - wanted.keys()),
        "has another shape for": [
            name for name in wanted.keys() & given.keys() if wanted[name].shape != given[name].shape
        ],
    }
    found = [
        f"{what} {len(names)} tensors, {min(names)} among them"
        for what, names in faults.items()
        if names
    ]
    if found:
        raise BackboneError(f"{path} does not fit {type(network).__name__}: it {'; '.join(found)}")
    # MNASNet asks for the version of its format, which plain tensors do not carry.
    versioned = collections.OrderedDict(given)
    versioned._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    network.load_state_dict(versioned, strict=False)
