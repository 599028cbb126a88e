"""Training of a tail and the classifier on it, epoch by epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adapters.folds import stratified_folds
from adapters.tuning.batchnorm_folding import Folded
from adapters.tuning.checkpoint import State
from adapters.tuning.classifier import Classifier
from adapters.tuning.fast_depthwise import FastDepthwise
from adapters.tuning.interfaces import Activations, Tunable
from adapters.tuning.schedule import Plan

Rows = NDArray[np.intp]

BATCH = 32
LEAST_BATCH = 8
LEAST_STEPS = 8
"""Examples of a step, and steps of an epoch where that leaves enough examples to each."""

EMBED_BATCH = 32
"""Examples that are embedded at once."""

FRONT_ROWS = 256
"""Examples that the front is fitted to for scoring, of each class its share."""

CLASSIFIER_SHARE = 0.1
"""Rate of the classifier as a share of the last block's: it is good already, and a step of the
same size changes the logits by the sum of the changes of all its weights."""

WEIGHT_DECAY = 0.01
"""Of matrices and kernels; scales and biases are not decayed."""

LARGEST_GRADIENT = 1.0
"""Norm of all gradients at most: one odd batch must not throw a training off."""

STEM = "stem"
"""Name of what belongs to no block."""

CLASSIFIER = "classifier."
"""Before the names of the classifier's tensors in a state; no library's name begins with it."""


@dataclass(frozen=True, eq=False)
class BatchSource:
    """The examples that a training learns from, in batches.

    Attributes:
        rows: examples as `Activations` counts them; shape (m,).
        targets: their class indices; shape (m,).
        weights: what they count, 1 on average; shape (m,).
        activations: what they are read from, with the views to draw from.
        seed: decides their order and the views that are taken, together with the epoch.
    """

    rows: Rows
    targets: NDArray[np.intp]
    weights: NDArray[np.float64]
    activations: Activations
    seed: tuple[int, ...]

    def batches(self, epoch: int) -> list[tuple[Rows, Rows]]:
        """Return places in `rows` and the view of each, 0 for none, of all batches of an epoch.

        Epoch 0 has no views: it is the examples themselves, for scoring.

        Every batch has its share of every class. Otherwise each step would shift all embeddings
        at once towards the classes of its batch, further than the classifier can follow.
        """
        random = np.random.default_rng((*self.seed, epoch))
        n, views = len(self.rows), self.activations.views if epoch else 0
        drawn = random.integers(0, views + 1, n)
        size = min(BATCH, max(LEAST_BATCH, n // LEAST_STEPS))
        deal = stratified_folds(self.targets, math.ceil(n / size), int(random.integers(2**63)))
        parts = [np.flatnonzero(deal == part) for part in range(int(deal.max()) + 1)]
        return [(places, drawn[places]) for places in parts]


class Learner:
    """A working copy of a tail, which trains one classifier on it after another.

    Args:
        tail: what to begin with; it is left alone.
        activations: what enters it, of the examples themselves; views come with a `BatchSource`.
        device: as torch names it.
        bfloat16: whether to train in it (autocast; weights stay float32).
    """

    def __init__(
        self,
        tail: Tunable,
        activations: Activations,
        *,
        device: str,
        bfloat16: bool,
    ) -> None:
        self._activations = activations
        self._device, self._bfloat16 = torch.device(device), bfloat16
        module = copy.deepcopy(cast(nn.Module, tail)).eval().to(self._device)
        self.blocks = _blocks(cast(Tunable, module))
        module.requires_grad_(False)
        self._original = {
            name: tensor.detach().clone() for block in self.blocks for name, tensor in block.tuned
        }
        with torch.no_grad():
            self._tail = Folded(module, *self._read(np.arange(1), np.zeros(1, dtype=np.intp)))
        self._classifier: Classifier
        self._optimizer: torch.optim.AdamW

    def begin(self, classifier: Classifier) -> None:
        """Restart from the backbone's own blocks, with this classifier."""
        with torch.no_grad():
            for block in self.blocks:
                for name, tensor in block.tuned:
                    tensor.copy_(self._original[name])
        self._classifier = classifier.to(self._device)
        self._optimizer = torch.optim.AdamW(self._groups(), lr=0.0, fused=True)

    def restore(self, state: State) -> None:
        """Continue from a state; call it after `begin`."""
        tensors = dict(self._learned())
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(state.tensors[name])
        for key, value in state.tensors.items():
            name, _, moment = key.rpartition("|")
            if name:
                self._optimizer.state[tensors[name]][moment] = value.to(self._device)

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that `restore` takes; names with a "|" are the optimizer's."""
        found: dict[str, Tensor] = {}
        for name, tensor in self._learned():
            found[name] = tensor.detach().clone()
            for moment, value in self._optimizer.state[tensor].items():
                found[f"{name}|{moment}"] = value.clone()
        return {name: tensor.cpu() for name, tensor in found.items()}

    def train(self, plan: Plan, epoch: int, source: BatchSource) -> float:
        """Run an epoch, counted from 1; returns the weighted mean of the loss in nats."""
        batches = source.batches(epoch)
        self._unfreeze(plan.stage(epoch).blocks)
        self._classifier.train()
        learned = [tensor for group in self._optimizer.param_groups for tensor in group["params"]]
        total = torch.zeros((), device=self._device)
        for step, (places, views) in enumerate(batches):
            self._set_rates(plan.rates(epoch, (step + 0.5) / len(batches), len(self.blocks)))
            states, mask = self._read(source.rows[places], views, source.activations)
            targets = torch.tensor(source.targets[places], device=self._device)
            weights = torch.tensor(source.weights[places], dtype=torch.float32, device=self._device)
            with self._fast():
                embeddings = self._tail(states, mask)
            logits = self._classifier(embeddings.float())
            losses = weights * nn.functional.cross_entropy(logits, targets, reduction="none")
            self._optimizer.zero_grad()
            losses.mean().backward()
            _shorten(learned)
            self._optimizer.step()
            total += losses.detach().sum()
        return float(total) / float(source.weights.sum())

    def fit_front(self, source: BatchSource) -> None:
        """Fit the classifier's front to the tail as it is, so that `logits` can score."""
        places = np.concatenate([places for places, _ in source.batches(0)])
        rows = source.rows[places[:FRONT_ROWS]]
        self._classifier.eval()
        self._classifier.fit_front(torch.cat(list(self._embed(rows, narrow=self._bfloat16))))

    def logits(self, rows: Rows) -> NDArray[np.float64]:
        """Return logits (m, classes) of examples after `fit_front`, as fast as training goes."""
        with torch.no_grad():
            parts = [
                self._classifier(part).cpu() for part in self._embed(rows, narrow=self._bfloat16)
            ]
        return torch.cat(parts).double().numpy()

    def embed(
        self, rows: Rows, activations: Activations | None = None, view: int = 0
    ) -> NDArray[np.float32]:
        """Return the tail's features (m, dim) of examples or a view of each, in float32."""
        parts = [part.cpu() for part in self._embed(rows, activations, view, narrow=False)]
        return cast(NDArray[np.float32], torch.cat(parts).numpy())

    def _embed(
        self,
        rows: Rows,
        activations: Activations | None = None,
        view: int = 0,
        *,
        narrow: bool,
    ) -> Iterator[Tensor]:
        for first in range(0, len(rows), EMBED_BATCH):
            some = rows[first : first + EMBED_BATCH]
            states, mask = self._read(some, np.full(len(some), view), activations)
            with torch.no_grad(), self._fast() if narrow else ExitStack():
                yield self._tail(states, mask).float()

    def _read(
        self, rows: Rows, views: Rows, activations: Activations | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return states and mask on the device; floats as float32."""
        states, mask = (activations or self._activations).rows(rows, views)
        given = torch.tensor(states, device=self._device)
        if given.is_floating_point():
            given = given.float()
        if given.ndim == 4 and given.is_floating_point():
            given = given.contiguous(memory_format=torch.channels_last)
        return given, None if mask is None else torch.tensor(mask, device=self._device)

    @contextmanager
    def _fast(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(FastDepthwise())
            if self._bfloat16:
                stack.enter_context(torch.autocast(self._device.type, torch.bfloat16))
            yield

    def _learned(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all parameters that learn, by name."""
        for block in self.blocks:
            yield from block.tuned
        for name, tensor in self._classifier.named_parameters():
            yield CLASSIFIER + name, tensor

    def _groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups: two of each block, and the classifier's."""
        groups: list[dict[str, Any]] = []
        for place, block in enumerate(self.blocks):
            tensors = [tensor for _, tensor in block.tuned]
            matrices = [tensor for tensor in tensors if tensor.ndim > 1]
            vectors = [tensor for tensor in tensors if tensor.ndim <= 1]
            decays = ((matrices, WEIGHT_DECAY), (vectors, 0.0))
            groups += [
                {"params": some, "weight_decay": decay, "block": place, "share": 1.0}
                for some, decay in decays
            ]
        parameters = list(self._classifier.parameters())
        last = {"block": len(self.blocks) - 1, "share": CLASSIFIER_SHARE}
        return [*groups, {"params": parameters, "weight_decay": 0.0, **last}]

    def _set_rates(self, rates: Sequence[float]) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = group["share"] * rates[group["block"]]

    def _unfreeze(self, tuned: int) -> None:
        """Unfreeze so many blocks, counted from the output, and freeze the others."""
        for distance, block in enumerate(reversed(self.blocks)):
            for _, tensor in block.tuned:
                tensor.requires_grad_(distance < tuned)


def _shorten(learned: Sequence[Tensor]) -> None:
    """Scale gradients whose common norm is too large."""
    length = nn.utils.get_total_norm([one.grad for one in learned if one.grad is not None])
    if length > LARGEST_GRADIENT:
        nn.utils.clip_grads_with_norm_(learned, LARGEST_GRADIENT, length)


@dataclass(frozen=True, eq=False)
class TunedBlock:
    """A block's name, and its parameters by their names."""

    name: str
    tuned: Sequence[tuple[str, Tensor]]

    @property
    def nbytes(self) -> int:
        """Bytes of its parameters in float32."""
        return sum(4 * tensor.numel() for _, tensor in self.tuned)

    def arrays(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yield copies of its parameters by their names."""
        for name, tensor in self.tuned:
            yield name, np.array(tensor.detach().float().cpu().numpy())


def _blocks(tail: Tunable) -> list[TunedBlock]:
    """Return what can be tuned, from the input to the output."""
    blocks = [TunedBlock(name, _parameters(block)) for name, block in tail.named_blocks()]
    inside = {id(tensor) for block in blocks for _, tensor in block.tuned}
    outside = [(name, tensor) for name, tensor in _parameters(tail) if id(tensor) not in inside]
    return [TunedBlock(STEM, outside), *blocks] if outside else blocks


def _parameters(part: Any) -> list[tuple[str, Tensor]]:
    return [
        (name, tensor)
        for name, tensor in part.named_tensors()
        if isinstance(tensor, nn.Parameter) and tensor.is_floating_point()
    ]
