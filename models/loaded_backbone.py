"""A loaded backbone: preprocessing and an engine, joined, whole and cut."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backbone import Modality, PreparedInput, Preprocessor, RawInput
from models.batch_shapes import group_by_length, lengths_up_to, padded_length
from models.engines import Choice, Engine, Network
from models.errors import BackboneError, InvalidTail
from models.tails import TailFile, read_tail, tail_fingerprint

Arrays = Mapping[str, NDArray[Any]]


class LoadedBackbone:
    """Preprocessing and an engine, joined; see `Backbone` for the contract."""

    def __init__(
        self,
        name: str,
        modality: Modality,
        dim: int,
        choice: Choice,
        preprocessor: Preprocessor,
        engine: Engine,
        fingerprint: str,
    ) -> None:
        self.name = name
        self.modality = modality
        self.dim = dim
        self.engine = choice.engine
        self.device = choice.device
        self.fingerprint = fingerprint
        self._preprocessor = preprocessor
        self._engine = engine
        limit = preprocessor.parameters.get("max_tokens")
        self._max_tokens = None if limit is None else int(limit)
        self._tails: weakref.WeakSet[Network] | None = weakref.WeakSet()
        self._lock = threading.Lock()

    @property
    def tail_blocks(self) -> tuple[str, ...]:
        """Names of the blocks after the cut, from the cut to the output."""
        return self._engine.tail_blocks

    @property
    def cut(self) -> str:
        """Name of the first block after the cut; empty for a backbone that cannot be cut."""
        return next(iter(self.tail_blocks), "")

    def preprocess(self, raw: RawInput) -> PreparedInput:
        """Validate and decode one input. Thread-safe. Raises InvalidInput and nothing else."""
        return self._preprocessor.prepare(raw)

    def forward(self, batch: Sequence[PreparedInput]) -> NDArray[np.float32]:
        """Embed a batch: float32 of shape (len(batch), dim). Raises BackboneError."""
        return self._embed(self._engine.run, self._collate, [item.data for item in batch])

    def activations(self, batch: Sequence[PreparedInput]) -> list[NDArray[np.float32]]:
        """Run the frozen prefix: one array for each input, without the padding of a batch."""
        self._check_cut()
        rows = [item.data for item in batch]
        found: dict[int, NDArray[np.float32]] = {}
        for group in self._groups(rows):
            states = self._engine.prefix(self._collate([rows[i] for i in group]))
            for index, state in zip(group, states, strict=True):
                found[index] = state[: len(rows[index])] if self._ragged else state
        return [found[index] for index in range(len(rows))]

    def finish(self, activations: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Run the backbone's own blocks after the cut: float32 of shape (n, dim)."""
        self._check_cut()
        return self._embed(self._engine.finish, self._stack, activations)

    def load_tail(self, data: bytes) -> _Tail:
        """Make a tail of this backbone ready on its device. Raises InvalidTail."""
        file = read_tail(data)
        self._check_tail(file)
        network = self._engine.tail(file.tensors, whole=file.whole)
        with self._lock:
            closed = self._tails is None
            if self._tails is not None:
                self._tails.add(network)
        if closed:
            network.close()
            raise BackboneError("the backbone is closed")
        collate = self._collate if file.whole else self._stack
        return _Tail(tail_fingerprint(data), file.whole, network, collate, self._embed)

    def warm_up(self) -> None:
        """Run one input and a pair, and check that the embeddings are finite."""
        prepared = self.preprocess(self._preprocessor.sample())
        lengths = lengths_up_to(self._max_tokens) if self._max_tokens else ()
        self._engine.warm_up(self._preprocessor.collate([prepared]), lengths)
        for rows in (1, 2):
            if not np.isfinite(self.forward([prepared] * rows)).all():
                raise BackboneError(f"{self.name} gives embeddings that are not finite")

    def close(self) -> None:
        """Free the network's memory, and that of its tails."""
        with self._lock:
            tails, self._tails = self._tails, None
        for tail in tails or ():
            tail.close()
        self._engine.close()

    @property
    def _ragged(self) -> bool:
        return self.modality is Modality.TEXT

    def _groups(self, rows: Sequence[NDArray[Any]]) -> list[list[int]]:
        """Return rows that share a pass: texts of a length, or everything."""
        if self._ragged:
            return group_by_length([len(row) for row in rows])
        return [list(range(len(rows)))] if rows else []

    def _embed(
        self,
        run: Callable[[Arrays], NDArray[np.float32]],
        collate: Callable[[Sequence[NDArray[Any]]], Arrays],
        rows: Sequence[NDArray[Any]],
    ) -> NDArray[np.float32]:
        embeddings = np.empty((len(rows), self.dim), np.float32)
        for group in self._groups(rows):
            part = run(collate([rows[index] for index in group]))
            if part.shape != (len(group), self.dim):
                raise BackboneError(
                    f"{self.name} gave shape {part.shape} for {len(group)} inputs of {self.dim}"
                )
            embeddings[group] = part
        return embeddings

    def _collate(self, rows: Sequence[NDArray[Any]]) -> Arrays:
        return self._preprocessor.collate([PreparedInput(row, cost=len(row)) for row in rows])

    def _stack(self, rows: Sequence[NDArray[Any]]) -> Arrays:
        """Join activations into `states`, padded again, and their `mask`."""
        shapes = {row.shape[1:] if self._ragged else row.shape for row in rows}
        if len(shapes) != 1:
            raise BackboneError(f"activations of one backbone have one shape, not {shapes}")
        if not self._ragged:
            return {"states": np.stack(rows).astype(np.float32, copy=False)}
        width = padded_length([len(row) for row in rows], self._max_tokens)
        states = np.zeros((len(rows), width, *shapes.pop()), np.float32)
        mask = np.zeros((len(rows), width), np.int64)
        for index, row in enumerate(rows):
            states[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return {"states": states, "mask": mask}

    def _check_cut(self) -> None:
        if not self.tail_blocks:
            raise BackboneError(f"{self.name} cannot be cut")

    def _check_tail(self, file: TailFile) -> None:
        if file.backbone != self.fingerprint:
            raise InvalidTail(
                f"the tail belongs to the backbone {file.backbone[:200]}, not to {self.name} "
                f"of fingerprint {self.fingerprint}"
            )
        if not file.whole:
            self._check_cut()
        shapes = self._engine.parameters(whole=file.whole)
        for name, tensor in file.tensors.items():
            if name not in shapes:
                where = "" if file.whole else " after its cut"
                raise InvalidTail(f"{name[:200]} is no parameter of {self.name}{where}")
            if tensor.shape != shapes[name]:
                raise InvalidTail(f"{name} has shape {tensor.shape}, not {shapes[name]}")


class _Tail:
    """See `LoadedTail` for the contract."""

    def __init__(
        self,
        fingerprint: str,
        whole: bool,
        network: Network,
        collate: Callable[[Sequence[NDArray[Any]]], Arrays],
        embed: Callable[..., NDArray[np.float32]],
    ) -> None:
        self.fingerprint = fingerprint
        self.whole = whole
        self.nbytes = network.nbytes
        self._network = network
        self._collate = collate
        self._embed = embed

    def run(self, rows: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed rows: float32 of shape (n, dim). Thread-safe. Raises BackboneError."""
        return self._embed(self._network.run, self._collate, rows)

    def close(self) -> None:
        """Free its memory."""
        self._network.close()
