"""Networks as `adapters.tuning` takes them. Importing this imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import models
from models.networks.base import Block, CutNetwork

if TYPE_CHECKING:
    from adapters.tuning import Tunable


@dataclass(frozen=True, eq=False, slots=True)
class LoadedTunable:
    """What is tuned, with the backbone's weights, the device to do it on, and the whole network."""

    module: Tunable
    device: str
    network: CutNetwork

    def digest(self) -> str:
        """Hashes all parameters and buffers of the backbone: tuning must leave it as it was."""
        digest = hashlib.blake2b(digest_size=32)
        for name, tensor in self.network.named_tensors():
            digest.update(name.encode())
            digest.update(tensor.detach().reshape(-1).view(torch.uint8).cpu().numpy().tobytes())
        return digest.hexdigest()


class WholeNetwork(nn.Module):
    """A whole network that takes states and a mask, as a tail does.

    Args:
        network: all of it is to be tuned.
        states: name of the input that is no mask.
    """

    def __init__(self, network: CutNetwork, states: str) -> None:
        super().__init__()
        self.network = network
        self.states = states

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embeds pixels (n, h, w, 3), or token ids and their mask, both (n, tokens)."""
        inputs = {self.states: states}
        if self.network.mask is not None:
            assert mask is not None
            inputs[self.network.mask] = mask
        embeddings: Tensor = self.network(**inputs)
        return embeddings

    def named_blocks(self) -> Iterator[tuple[str, Block]]:
        """Yields the blocks by name, from the input to the output."""
        for block in self.network.blocks:
            assert isinstance(block, Block)
            yield block.name, block

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yields parameters and buffers, also the stem's, by the names of the library's network."""
        return self.network.named_tensors()


def load_tunable(
    backbone: str,
    fingerprint: str,
    *,
    whole: bool,
    engine: str,
    device: str,
    catalogue: Path | None,
    offline: bool,
) -> LoadedTunable:
    """Builds what is to be tuned.

    Args:
        backbone: its name in the catalogue.
        fingerprint: the fingerprint that it must have: that of the activations.
        whole: whether all of it is tuned, and not only what follows the cut.
        engine, device, catalogue, offline: as `models.load_backbone` takes them.

    Raises:
        models.ModelError: it cannot be built here, or is another by now.
    """
    found = models.load_backbone_network(
        backbone, engine=engine, device=device, catalogue=catalogue, offline=offline
    )
    if found.fingerprint != fingerprint:
        raise models.BackboneError(
            f"{backbone} has fingerprint {found.fingerprint} where tails are tuned, "
            f"and {fingerprint} where inputs are embedded"
        )
    network = found.network
    if not whole:
        return LoadedTunable(network.tail(), found.device, network)
    (states,) = (name for name in found.inputs if name != network.mask)
    return LoadedTunable(WholeNetwork(network, states), found.device, network)
