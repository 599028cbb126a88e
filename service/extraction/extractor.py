"""The interface of extractors: backbones in this process, or an extraction server elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import Modality
from service.concurrency.demand import Demand
from service.errors import PreconditionFailed
from service.requests.inputs import RawInput


@dataclass(frozen=True, slots=True)
class TailRef:
    """A tail by its fingerprint, and where its weights are when they are needed.

    Attributes:
        fingerprint: `models.tails.tail_fingerprint` of its file.
        read: gets the file (safetensors); called only where the tail is not in memory. What it
            raises fails the rows that wait for this tail, and no others.
    """

    fingerprint: str
    read: Callable[[], Awaitable[bytes]] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class BackboneInfo:
    """A loaded backbone, as clients see it.

    Attributes:
        fingerprint: of the embeddings: the backbone's, or with a tail the tail's.
        cut: name of the first block after the cut; empty for a backbone that cannot be cut.
        tail_blocks: names of the blocks after the cut, in their order.
        tail: what embeddings are made with in place of the backbone's own blocks.
    """

    name: str
    modality: Modality
    dim: int
    fingerprint: str
    engine: str
    device: str
    ready: bool
    cut: str = ""
    tail_blocks: tuple[str, ...] = ()
    tail: TailRef | None = None

    def with_tail(self, tail: TailRef) -> BackboneInfo:
        """Returns this backbone with a tail, whose fingerprint its embeddings have."""
        return replace(self, fingerprint=tail.fingerprint, tail=tail)


@dataclass(frozen=True, slots=True)
class Extracted:
    """One embedding, float32 of shape (dim,), and the seconds it took.

    Attributes:
        truncated: whether the input is a text that is longer than the backbone's window.
        cost: pixels or tokens of its pass; 0 where that is not known.
        device_seconds: its share of the time of its batch.
    """

    vector: NDArray[np.float32]
    decode_seconds: float
    queue_seconds: float
    backbone_seconds: float
    truncated: bool = False
    cost: int = 0
    device_seconds: float = 0.0


def _nothing() -> None:
    """Lets go of nothing."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Rows that an extractor has taken in.

    Attributes:
        run: computes them: one embedding or error per input, in order. At most once.
        close: lets go of what they hold; to be called also where `run` never was.
    """

    run: Callable[[], Coroutine[Any, Any, list[Extracted | Exception]]]
    close: Callable[[], None] = _nothing


class Extractor(ABC):
    """Turns inputs into embeddings. Callers cannot tell which kind they have."""

    @abstractmethod
    async def start(self, on_readiness: Callable[[bool], None]) -> None:
        """Gets ready; `on_readiness` is called at every change from then on."""

    @abstractmethod
    async def close(self) -> None:
        """Fails what waits with Unavailable and releases the backbones."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether every backbone's last forward pass succeeded."""

    @abstractmethod
    def backbones(self) -> tuple[BackboneInfo, ...]:
        """Returns the backbones that are loaded.

        Raises:
            Unavailable: they are not known yet.
        """

    @abstractmethod
    async def embed(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        *,
        deadline: float | None = None,
        demands: Sequence[Demand] = (),
    ) -> list[Extracted | Exception]:
        """Embeds images, texts and pixels: one embedding or error per input, in order.

        Cancelling the call takes rows that have not entered a batch out of the queue, and so does
        the deadline (of the event loop's clock).

        Args:
            backbone: as `backbone` gives it, or that with a tail.
            demands: one per input, where who waits for it may change; takes the place of
                `deadline`. A row that will be late takes along all that those wait for who wait
                for it, and what nobody waits for is not begun.

        Raises:
            QueueFull: not all rows fit in the queue, or can be done in time; none is embedded.
            PreconditionFailed: the backbone is not loaded.
            Unavailable: the backbones are away.
        """

    def admit(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        demands: Sequence[Demand],
    ) -> Admitted:
        """Takes rows in for `embed`, at once: what is refused here costs nothing more.

        Raises:
            QueueFull, PreconditionFailed, Unavailable: as `embed`, which may still raise them.
        """
        return Admitted(partial(self.embed, tenant, backbone, inputs, demands=demands))

    @abstractmethod
    async def activations(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        *,
        prepared: bool,
        deadline: float | None = None,
    ) -> list[NDArray[Any] | Exception]:
        """Computes what tails are trained on: one array or error per input, in order.

        The rows share queues and batches with those that are embedded. Cancelling and the deadline
        are as in `embed`.

        Args:
            prepared: False for the activations at the cut, float16 of shape (channels, height,
                width) or (tokens, width); True for what enters the network: uint8 pixels (height,
                width, 3) or int64 token ids (tokens,).

        Raises:
            QueueFull, PreconditionFailed, Unavailable: as in `embed`.
            PreconditionFailed: also where the backbone cannot be cut.
        """

    @abstractmethod
    async def load_backbone(self, name: str) -> BackboneInfo:
        """Loads a backbone and warms it up; one that is loaded stays as it is.

        Raises:
            InvalidRequest: there is no backbone of this name.
            PreconditionFailed: it cannot be loaded here.
        """

    @abstractmethod
    async def unload_backbone(self, name: str) -> None:
        """Takes no new rows for a backbone, finishes those under way, and releases it.

        Raises:
            PreconditionFailed: it is not loaded.
        """

    @abstractmethod
    def forget_tail(self, fingerprint: str) -> None:
        """Releases a tail that is deleted, as soon as the last rows have left it."""

    def backbone(self, name: str) -> BackboneInfo:
        """Returns the loaded backbone of this name.

        Raises:
            PreconditionFailed: it is not loaded.
        """
        loaded = self.backbones()
        for info in loaded:
            if info.name == name:
                return info
        names = ", ".join(info.name for info in loaded) or "none"
        raise PreconditionFailed.at(
            "backbone", "{value!r} is not loaded; loaded: {limit}", names, name
        )

    def default_backbone(self, modality: Modality) -> BackboneInfo:
        """Returns the first loaded backbone of a modality.

        Raises:
            PreconditionFailed: there is none.
        """
        for info in self.backbones():
            if info.modality is modality:
                return info
        raise PreconditionFailed.at("backbone", "none for {value} inputs is loaded", value=modality)
