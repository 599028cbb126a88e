"""Tiny tails, and examples that take tuning to tell apart."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import adapters
from adapters.tuning import Tuned, tune

Tensors = Mapping[str, NDArray[np.float32]]


class Block(nn.Module):
    """Modules one after the other, with names as in a library's network."""

    def __init__(self, name: str, *parts: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.parts = nn.ModuleList(parts)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        for part in self.parts:
            states = part(states)
        return states

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.parts.state_dict(keep_vars=True).items():
            yield f"{self.name}.{name}", tensor


class Attention(Block):
    """A token looks at all others but at no padding."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__(name, nn.Linear(width, width), nn.LayerNorm(width))

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        assert mask is not None
        scores = states @ states.mT + torch.log(mask[:, None, :].float())
        mixed = self.parts[0](scores.softmax(dim=2) @ states)
        added: Tensor = self.parts[1](states + mixed.tanh())
        return added


class Exponential(nn.Module):
    """An activation that overflows early."""

    def forward(self, states: Tensor) -> Tensor:
        return states.exp()


class Tail(nn.Module):
    """Blocks, and a mean over all but the channels at the end."""

    def __init__(self, *blocks: Block, stem: nn.Module | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.stem = stem

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.stem is not None:
            states = self.stem((states.float() - 128) / 32)
        for block in self.blocks:
            states = block(states, mask)
        if mask is None:
            return states.mean(dim=(2, 3))
        seen = mask[:, :, None]
        return (states * seen).sum(dim=1) / seen.sum(dim=1)

    def named_blocks(self) -> Iterator[tuple[str, Block]]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block.name, block

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        if self.stem is not None:
            for name, tensor in self.stem.state_dict(keep_vars=True).items():
                yield f"stem.{name}", tensor
        for _, block in self.named_blocks():
            yield from block.named_tensors()

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {name: tensor.detach().numpy().copy() for name, tensor in self.named_tensors()}

    def with_tensors(self, tensors: Tensors) -> Tail:
        """Return a copy in which some weights have other values."""
        changed = copy.deepcopy(self)
        own = dict(changed.named_tensors())
        with torch.no_grad():
            for name, values in tensors.items():
                own[name].copy_(torch.tensor(values))
        return changed

    def embed(self, activations: Stored) -> NDArray[np.float32]:
        rows = np.arange(len(activations))
        states, mask = activations.rows(rows, np.zeros_like(rows))
        given = torch.tensor(states)
        given = given.float() if given.is_floating_point() else given
        with torch.no_grad():
            embedded: NDArray[np.float32] = self(
                given, None if mask is None else torch.tensor(mask)
            ).numpy()
        return embedded


class Stored:
    """Activations in memory: of shape (1 + views, n, ...), and lengths of texts, if they are."""

    def __init__(self, states: NDArray[Any], lengths: NDArray[np.intp] | None = None) -> None:
        self._states, self._lengths = states, lengths
        self.asked: list[tuple[int, int]] = []
        """Examples and views that were asked for."""

    @property
    def views(self) -> int:
        return len(self._states) - 1

    def __len__(self) -> int:
        return int(self._states.shape[1])

    def rows(
        self, examples: NDArray[np.intp], views: NDArray[np.intp]
    ) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        self.asked += zip(examples.tolist(), views.tolist(), strict=True)
        states = self._states[views, examples]
        if self._lengths is None:
            return states, None
        lengths = self._lengths[examples]
        longest = int(lengths.max())
        mask = (np.arange(longest) < lengths[:, None]).astype(np.int64)
        return states[:, :longest], mask


class Kept:
    """Checkpoints in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def load(self, name: str) -> bytes | None:
        return self.files.get(name)

    def save(self, name: str, data: bytes) -> None:
        self.files[name] = data


class Ticks:
    """A clock that goes on by a second whenever it is looked at."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 1.0
        return self._now


def convolutions(*, seed: int = 0, stem: bool = False, activation: nn.Module | None = None) -> Tail:
    """Two blocks of a convolution, batch normalisation and an activation, 3 channels to 8."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        blocks = [
            Block(
                name,
                nn.Conv2d(before, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                activation or nn.ReLU(),
            )
            for name, before in (("blocks.0", 3), ("blocks.1", 8))
        ]
        for block in blocks:
            norm = block.parts[1]
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 1.5)
        return Tail(*blocks, stem=nn.Conv2d(3, 3, 1) if stem else None).eval()


def attention(width: int = 8, *, seed: int = 0) -> Tail:
    """Two blocks in which tokens of that width look at one another."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Tail(Attention("layer.4", width), Attention("layer.5", width)).eval()


def textures(n: int, *, seed: int = 0, views: int = 0) -> tuple[Stored, list[str]]:
    """Noise whose neighbours along a row are alike in one class and opposite in the other.

    Means over positions are the same in both. Views are the noise again, a little changed.
    """
    random = np.random.default_rng(seed)
    targets = np.arange(n) % 2
    states = random.normal(size=(1 + views, n, 3, 6, 6)) * 0.2
    noise = random.normal(size=(n, 3, 6, 6))
    sign = np.where(targets == 0, 1.0, -1.0)[:, None]
    for column in range(1, 6):
        noise[:, 0, :, column] = 0.3 * noise[:, 0, :, column] + sign * noise[:, 0, :, column - 1]
    states[1:] += noise
    states[0] = noise
    return Stored(states.astype(np.float16)), [f"class {target}" for target in targets]


def fitted(tail: Tail, activations: Stored, labels: list[str], spec: adapters.HeadSpec) -> Any:
    """Embeddings of the tail as it is, and the head on them."""
    embeddings = tail.embed(activations)
    found = adapters.fit(embeddings, labels, spec, fingerprint="frozen")
    return embeddings, adapters.diagnose(found, embeddings, labels)


def tuned(
    tail: Tail, activations: Stored, labels: list[str], spec: adapters.HeadSpec, **more: Any
) -> Tuned:
    """Fit a head to the tail as it is, and tune."""
    embeddings, base = fitted(tail, activations, labels, spec)
    settings = {"clock": Ticks(), "name": lambda tensors: "tuned", "bfloat16": False, **more}
    return tune(tail, activations, labels, spec, base=base, embeddings=embeddings, **settings)


def spec(strategy: str = "tail", **more: Any) -> adapters.HeadSpec:
    """Return how to tune so small a tail in few epochs."""
    settings = {"max_epochs": 8, "learning_rate": 0.02, **more}
    family = settings.pop("family", "ridge")
    others = {key: settings.pop(key) for key in ("class_weights", "seed") if key in settings}
    fine_tune = adapters.FineTune(strategy=strategy, **settings)
    return adapters.HeadSpec(family=family, fine_tune=fine_tune, **others)
