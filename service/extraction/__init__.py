"""Where embeddings come from: a backbone in this process, or an extraction server elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import Modality
from service.errors import PreconditionFailed
from service.inputs import RawInput


@dataclass(frozen=True, slots=True)
class BackboneInfo:
    """What a client may know of a loaded backbone."""

    name: str
    modality: Modality
    dim: int
    fingerprint: str
    engine: str
    device: str
    ready: bool


@dataclass(frozen=True, slots=True)
class Extracted:
    """One embedding, float32 of shape (dim,), and the seconds it took."""

    vector: NDArray[np.float32]
    decode_seconds: float
    queue_seconds: float
    backbone_seconds: float


class Extractor(ABC):
    """Turns inputs into embeddings. Callers cannot tell which kind they have."""

    @abstractmethod
    async def start(self, on_readiness: Callable[[bool], None]) -> None:
        """Gets ready; `on_readiness` is called at every change from then on."""

    @abstractmethod
    async def close(self) -> None:
        """Fails what waits with Unavailable and lets go of the backbones."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether every backbone's last forward pass succeeded."""

    @abstractmethod
    def backbones(self) -> tuple[BackboneInfo, ...]:
        """The backbones that are loaded.

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
    ) -> list[Extracted | Exception]:
        """Embeds images, texts and pixels: one embedding or error per input, in order.

        Cancelling the call takes rows that have not entered a batch out of the queue, and so does
        the deadline (of the event loop's clock).

        Raises:
            QueueFull: not all rows fit in the queue; none is embedded.
            Unavailable: the backbones are away.
        """

    def backbone(self, name: str) -> BackboneInfo:
        """The loaded backbone of this name.

        Raises:
            PreconditionFailed: it is not loaded.
        """
        loaded = self.backbones()
        for info in loaded:
            if info.name == name:
                return info
        names = ", ".join(info.name for info in loaded)
        raise PreconditionFailed(
            f"backbone: {name[:100]!r} is not loaded; loaded: {names}",
            field="backbone",
            limit=names,
            value=name,
        )

    def default_backbone(self, modality: Modality) -> BackboneInfo:
        """The first loaded backbone of a modality.

        Raises:
            PreconditionFailed: there is none.
        """
        for info in self.backbones():
            if info.modality is modality:
                return info
        raise PreconditionFailed(
            f"backbone: none for {modality} inputs is loaded", field="backbone", value=modality
        )
