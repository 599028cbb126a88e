"""States of tunings as safetensors files; no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from adapters.tuning.interfaces import Checkpoints

FACTS = "tuning"
"""Name of the metadata, a JSON object."""


@dataclass(frozen=True, eq=False)
class State:
    """The state of a training after an epoch.

    Attributes:
        tensors: by name.
        facts: what JSON can say.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class CheckpointStore:
    """The states of one tuning: in memory, or kept by the caller as well.

    Args:
        kept: where they are kept; None for memory alone.
        mark: names the examples and the spec they belong to. States with another mark are
            ignored.
    """

    def __init__(self, kept: Checkpoints | None, mark: str) -> None:
        self._kept: Checkpoints = _Memory() if kept is None else kept
        self._mark = mark

    def load(self, name: str) -> State | None:
        """Return the state of that name, if there is one of this tuning."""
        data = self._kept.load(name)
        if data is None:
            return None
        try:
            tensors = safetensors.torch.load(data)
            size = int.from_bytes(data[:8], "little")
            facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][FACTS])
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError):
            return None  # not a state
        return State(tensors, facts) if facts.get("mark") == self._mark else None

    def save(self, name: str, state: State) -> None:
        """Keep a state, replacing the one of that name."""
        facts = json.dumps({**state.facts, "mark": self._mark})
        tensors = {key: tensor.detach().contiguous() for key, tensor in state.tensors.items()}
        self._kept.save(name, safetensors.torch.save(tensors, metadata={FACTS: facts}))


class _Memory:
    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def load(self, name: str) -> bytes | None:
        return self._files.get(name)

    def save(self, name: str, data: bytes) -> None:
        self._files[name] = data
