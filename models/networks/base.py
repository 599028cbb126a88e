"""Networks that can be cut into a frozen prefix, which all tenants share, and a tail of blocks."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn


class Block(nn.Module):
    """A run of the library's own modules, one after the other: what is frozen or tuned as a whole.

    Args:
        parts: the modules by their names in the library's network, in their order; the first one
            names the block.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.name = next(iter(parts))
        self.prefixes = tuple(parts)
        self.parts = nn.ModuleList(parts.values())

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Turn states of shape (n, ...) into the next ones.

        Args:
            states: what the block before it gave.
            mask: int64 of shape (n, tokens), 1 for tokens and 0 for padding; None for images.
        """
        for part in self.parts:
            states = part(states)
        return states

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield parameters and buffers by their names in the library's network."""
        for prefix, part in zip(self.prefixes, self.parts, strict=True):
            for name, tensor in part.state_dict(keep_vars=True).items():
                yield f"{prefix}.{name}", tensor


class Tail(nn.Module):
    """The last blocks of a network and what pools their states: states to (n, dim), float32.

    Args:
        blocks: from the cut on.
        pool: turns the last states and the mask into (n, dim); it has nothing to tune.
    """

    def __init__(self, blocks: Sequence[Block], pool: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.pool = pool

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run the blocks and pool; shapes as those of `Block.forward`."""
        for block in self.blocks:
            states = block(states, mask)
        pooled: Tensor = self.pool(states, mask)
        return pooled

    def named_blocks(self) -> Iterator[tuple[str, Block]]:
        """Yield the blocks by name, from the cut to the output."""
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block.name, block

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield parameters and buffers of all blocks by their names in the library's network."""
        for _, block in self.named_blocks():
            yield from block.named_tensors()


class CutNetwork(nn.Module):
    """A network made of a stem, blocks and a pool, with the cut that its tails share.

    Args:
        stem: turns the collated inputs, by name, into the first states.
        blocks: all of them, from the input to the output.
        pool: turns the last states and the mask into embeddings (n, dim).
        cut: number of blocks before the cut, at least 1 and fewer than there are; None for a
            network that is not to be cut.
        mask: name of the input that is the blocks' mask; None for images.
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: Sequence[Block],
        pool: nn.Module,
        *,
        cut: int | None,
        mask: str | None = None,
    ) -> None:
        super().__init__()
        assert cut is None or 0 < cut < len(blocks)
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.pool = pool
        self.cut = cut
        self.mask = mask

    def forward(self, **inputs: Tensor) -> Tensor:
        """Embed collated inputs: float32 of shape (n, dim)."""
        states, mask = self.stem(**inputs), self.mask_of(inputs)
        for block in self.blocks:
            states = block(states, mask)
        pooled: Tensor = self.pool(states, mask)
        return pooled

    def prefix(self, **inputs: Tensor) -> Tensor:
        """Return the states at the cut, of shape (n, channels, h, w) or (n, tokens, width)."""
        states: Tensor = self.stem(**inputs)
        for block in self.blocks[: self.cut]:
            states = block(states, self.mask_of(inputs))
        return states

    def tail(self) -> Tail:
        """Return a copy of what follows the cut, to be tuned or to run on its own."""
        assert self.cut is not None
        return copy.deepcopy(self.shared_tail())

    def shared_tail(self) -> Tail:
        """Return what follows the cut as a network of its own: the same modules, no copies."""
        return Tail(self._tail_blocks, self.pool)

    def whole(self) -> CutNetwork:
        """Return a copy of all of it, for a tenant who tunes the whole backbone."""
        return copy.deepcopy(self)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield parameters and buffers of all of it by their names in the library's network.

        Those of the stem are called as the library calls them.
        """
        yield from self.stem.state_dict(keep_vars=True).items()
        for block in self.blocks:
            assert isinstance(block, Block)
            yield from block.named_tensors()

    def mask_of(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Return the mask among the inputs, if there is one."""
        return None if self.mask is None else inputs[self.mask]

    @property
    def tail_blocks(self) -> tuple[str, ...]:
        """Names of the blocks after the cut, in their order; empty without a cut."""
        return tuple(block.name for block in self._tail_blocks)

    @property
    def _tail_blocks(self) -> list[Block]:
        blocks = [block for block in self.blocks if isinstance(block, Block)]
        return [] if self.cut is None else blocks[self.cut :]
