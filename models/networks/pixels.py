"""Parts that networks for images share: what comes before their first block, and after their last.

A stem keeps the library's own modules under the library's own names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.errors import BackboneError
from models.networks.base import Block, CutNetwork


class PixelStem(nn.Module):
    """uint8 pixels of shape (n, height, width, 3), normalised, through the first modules.

    Args:
        mean, std: per channel, of pixels between 0 and 1.
        parts: the modules by their names in the library's network, in their order.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], parts: Mapping[str, nn.Module]
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self._names = tuple(parts)
        for name, part in parts.items():
            keep(self, name, part)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return float32 of shape (n, 3, height, width), as the library's transform does it."""
        scaled = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        return (scaled - self.mean) / self.std

    def forward(self, pixels: Tensor) -> Tensor:
        states = self.normalised(pixels)
        for name in self._names:
            states = self.get_submodule(name)(states)
        return states


class WholeNetwork(Block):
    """A network that is not to be cut: all of it is one block."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__({"network": network})

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.parts[0].state_dict(keep_vars=True).items()


class Flatten(nn.Module):
    """Features of shape (n, dim), (n, dim, 1, 1) or (n, dim, h, w) to (n, dim): their mean."""

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        states = states.to(torch.float32)
        return states.mean(dim=(2, 3)) if states.dim() == 4 else states


class FirstToken(nn.Module):
    """The state of the class token, which comes first."""

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        return states[:, 0].to(torch.float32)


class PatchMean(nn.Module):
    """The mean over the patches.

    Args:
        skipped: tokens before the first patch.
    """

    def __init__(self, skipped: int) -> None:
        super().__init__()
        self._skipped = skipped

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        return states[:, self._skipped :].to(torch.float32).mean(dim=1)


class Unit(nn.Module):
    """What another pool gives, as unit vectors."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        return nn.functional.normalize(self.pool(states, mask), dim=1)


def keep(owner: nn.Module, name: str, part: nn.Module | nn.Parameter) -> None:
    """Register a module or parameter under a dotted name, as it is in the library's network."""
    *folders, last = name.split(".")
    for folder in folders:
        if not hasattr(owner, folder):
            owner.add_module(folder, nn.Module())
        owner = owner.get_submodule(folder)
    setattr(owner, last, part)


def layers(network: nn.Module, *stacks: str) -> list[dict[str, nn.Module]]:
    """Return each member of these modules, one after the other, by its name in the network."""
    return [
        {f"{stack}.{name}": layer}
        for stack in stacks
        for name, layer in network.get_submodule(stack).named_children()
    ]


@dataclass(frozen=True)
class Anatomy:
    """What a family's network is made of.

    Attributes:
        tail_blocks: blocks after the cut unless somebody says otherwise; None for a third.
    """

    stem: nn.Module
    blocks: Sequence[Block]
    pool: nn.Module
    tail_blocks: int | None = None
    mask: str | None = None


def assemble(anatomy: Anatomy, *, tail_blocks: int | None, normalise: bool) -> CutNetwork:
    """Join the parts of a network, in eval mode.

    Args:
        tail_blocks: blocks after the cut, 0 for none; None for the family's own number.
        normalise: whether embeddings become unit vectors.

    Raises:
        BackboneError: not that many blocks can come after the cut.
    """
    count = len(anatomy.blocks)
    if tail_blocks is None:
        own = anatomy.tail_blocks
        tail_blocks = count // 3 if own is None else own
    elif tail_blocks and tail_blocks >= count:
        raise BackboneError(
            f"tail_blocks: must be less than the network's {count} blocks, is {tail_blocks}"
        )
    return CutNetwork(
        anatomy.stem,
        anatomy.blocks,
        Unit(anatomy.pool) if normalise else anatomy.pool,
        cut=count - tail_blocks if tail_blocks else None,
        mask=anatomy.mask,
    ).eval()
