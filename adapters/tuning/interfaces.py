"""What fine-tuning is given, what it reports on its way, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from adapters.spec import ViewSet
from adapters.training import Fitted

Tensors = Mapping[str, NDArray[np.float32]]
"""Weights by their names in the library's own network."""

Name = Callable[[Tensors], str]
"""Returns the fingerprint of the embeddings that a tail with these changed weights gives."""

Clock = Callable[[], float]
"""Returns seconds from some moment on, as `time.perf_counter` does."""


class Block(Protocol):
    """A part of a tail that is frozen or tuned as a whole."""

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield parameters and buffers by their names in the library's network."""
        ...


class Tunable(Protocol):
    """A `torch.nn.Module` of blocks: a tail, or a whole network that is wrapped alike.

    What it computes must not depend on its being in training mode: it stays in evaluation mode, so
    that statistics of batch normalisation stand still.
    """

    def __call__(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Turn states and the mask of `Activations.rows` into embeddings (n, dim), float32."""
        ...

    def named_blocks(self) -> Iterator[tuple[str, Block]]:
        """Yield the blocks by name, from the cut (or the input) to the output."""
        ...

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all parameters and buffers by their names in the library's network.

        What belongs to no block, such as a whole network's stem, counts as a block before the
        first one.
        """
        ...


class Activations(Protocol):
    """What enters the tail, of every example and its views; backed by a file as a rule."""

    @property
    def views(self) -> int:
        """Views of each example besides itself."""
        ...

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def rows(
        self, examples: NDArray[np.intp], views: NDArray[np.intp]
    ) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        """Return states of shape (m, ...) and the mask of shape (m, tokens), or None.

        Args:
            examples: which ones, of shape (m,), in the order of the labels.
            views: which view of each, of shape (m,): 0 is the example itself.

        Returns:
            Floats of any precision; for a whole network its own input, of its own type. Texts are
            padded to the longest of them, and the mask is 1 for tokens and 0 for padding.
        """
        ...


ViewsOf = Callable[[ViewSet], Activations]
"""Returns activations of the same examples with these views, which are made when it is called.

It raises `adapters.errors.ViewsUnavailable` where they cannot be made.
"""


class Checkpoints(Protocol):
    """Where the state of a tuning is kept after every epoch, under a handful of names.

    Names consist of lower-case letters, digits and dashes. A write must be atomic: after a crash
    a name holds what was saved last or before that, never a part. What a tuning finds of other
    examples or another spec it leaves unread.
    """

    def load(self, name: str) -> bytes | None:
        """Return what was saved last under that name; None if nothing was."""
        ...

    def save(self, name: str, data: bytes) -> None:
        """Keep a safetensors file, replacing the one of that name."""
        ...


@dataclass(frozen=True, slots=True)
class TuningProgress:
    """How far a tuning is after an epoch of a fold; `Progress` gets these fields as its details.

    Attributes:
        fold: counted from 1; 0 for the epochs on all examples, which come last.
        folds: how many there are.
        epoch: counted from 1.
        epochs: of this fold, at most.
        loss: weighted mean over the examples of the epoch, in nats.
        validation_loss: of the fold's held-out examples, after calibration; None on all examples.
        validation_accuracy: of them, from 0 to 1; None on all examples.
        remaining_seconds: a guess from the epochs so far; an early stop makes it less.
        views: kind of the views that this fold is trained on.
        passes: epochs of all folds so far, of all views that are tried, and those on all examples.
        most_passes: how many there can be at most: what choosing views may cost is in it.
    """

    fold: int
    folds: int
    epoch: int
    epochs: int
    loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    remaining_seconds: float
    views: str
    passes: int
    most_passes: int

    @property
    def done(self) -> float:
        """A guess of the share of the work that is done, from 0 to 1.

        A pass over all examples counts like one over a fold's.
        """
        if self.fold == 0:
            return 1 - (self.epochs - self.epoch) / self.most_passes
        return self.passes / self.most_passes


@dataclass(frozen=True, eq=False)
class TunedTail:
    """A tail that was found to be better than the backbone's own blocks.

    Attributes:
        tensors: the weights that were changed.
        fingerprint: of the embeddings it gives, as `Name` returned it.
        features: those of all examples in the caller's order; float32 of shape (n, dim).
    """

    tensors: Tensors
    fingerprint: str
    features: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of the weights that were changed."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True, eq=False)
class Tuned:
    """The result of a tuning.

    Attributes:
        fitted: the head to serve with. With a tail it is for the tail's features, and its
            temperature, conformal sets, estimate, evaluation and held-out logits come from tails
            and heads that had not seen the example. Without one it is the head that the tuning
            started from. It is complete, so not to be given to `diagnose`, and
            `fitted.report.fine_tuning` holds both estimates.
        tail: None where it was not better on the same folds.
    """

    fitted: Fitted
    tail: TunedTail | None
