"""Tails that change an embedded backbone's weights, and what the network gives then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.catalogue.loading import LoadedNetwork
from models.tails import tail_fingerprint, write_tail
from service.extraction import BackboneInfo, Extracted, Extractor, TailRef
from service.requests.inputs import RawInput

TOLERANCE = 1e-4
"""Absolute: image features reach about 3, text embeddings are unit vectors."""

Tensors = dict[str, torch.Tensor]


@dataclass
class Case:
    """An extractor on one backbone, and that backbone's network.

    Attributes:
        reads: fingerprints of the tails whose files were read.
    """

    extractor: Extractor
    backbone: BackboneInfo
    rows: list[RawInput]
    network: LoadedNetwork
    reads: list[str] = field(default_factory=list)

    async def embed(
        self, tail: TailRef | None = None, tenant: str = "acme"
    ) -> list[NDArray[np.float32]]:
        backbone = self.backbone if tail is None else self.backbone.with_tail(tail)
        outcomes = await self.extractor.embed(tenant, backbone, self.rows)
        return [outcome.vector for outcome in outcomes if isinstance(outcome, Extracted)]

    async def prepared(self) -> list[NDArray[Any]]:
        outcomes = await self.extractor.activations("acme", self.backbone, self.rows, prepared=True)
        return [outcome for outcome in outcomes if isinstance(outcome, np.ndarray)]

    async def expected(self, tensors: Tensors) -> list[NDArray[np.float32]]:
        """What the network gives with other weights, one row at a time."""
        network = self.network.network.whole()
        known = dict(network.named_tensors())
        prepared = await self.prepared()
        with torch.inference_mode():
            for name, tensor in tensors.items():
                known[name].copy_(tensor)
            return [network(**_inputs(row)).numpy()[0] for row in prepared]

    def changed(self, seed: int, *, whole: bool = False) -> Tensors:
        """Parameters, each moved by a twentieth of its own size at random."""
        generator = torch.Generator().manual_seed(seed)
        network = self.network.network
        part = network if whole else network.tail()
        with torch.inference_mode():
            return {
                name: tensor
                + 0.05 * tensor.abs().mean() * torch.randn(tensor.shape, generator=generator)
                for name, tensor in part.named_tensors()
                if isinstance(tensor, torch.nn.Parameter)
            }

    def tail(self, tensors: Tensors, *, whole: bool = False) -> TailRef:
        """A tail with these tensors."""
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        data = write_tail(self.backbone.fingerprint, arrays, whole=whole)
        fingerprint = tail_fingerprint(data)

        async def read() -> bytes:
            self.reads.append(fingerprint)
            return data

        return TailRef(fingerprint, read)


def assert_close(found: list[NDArray[np.float32]], wanted: list[NDArray[np.float32]]) -> None:
    """The rows are the same, up to rounding."""
    np.testing.assert_allclose(np.stack(found), np.stack(wanted), rtol=0, atol=TOLERANCE)


def _inputs(prepared: NDArray[Any]) -> dict[str, torch.Tensor]:
    data = torch.tensor(prepared[None])
    if prepared.ndim == 3:
        return {"pixels": data}
    return {"input_ids": data, "attention_mask": torch.ones_like(data)}
