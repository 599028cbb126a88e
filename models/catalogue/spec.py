"""What a backbone is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from models.backbone import InputLimits, Modality, Preprocessor
from models.engines import Engine
from models.weights import fingerprint

if TYPE_CHECKING:
    from models.networks import CutNetwork


@dataclass(frozen=True)
class BackboneSpec:
    """All that is needed to load a backbone; nothing here imports torch.

    Attributes:
        name: `family/variant`.
        dim: length of an embedding.
        files: locates the files that decide the result, by role; `weights` is one of them.
        preprocessor: builds the preprocessing from the files and the limits.
        network: builds the torch module from the weights.
        facts: JSON values that decide the result and are not in the files, nor known to the
            preprocessing.
        graph: of an ONNX file, makes the engine that runs it from the file, the device and the
            number of threads; there is no torch module then.
        revision: raise it when the network computes something else from the same weights.
    """

    name: str
    modality: Modality
    dim: int
    files: Callable[[], Mapping[str, Path]]
    preprocessor: Callable[[Mapping[str, Path], InputLimits], Preprocessor]
    network: Callable[[Path], CutNetwork]
    facts: Mapping[str, object] = field(default_factory=dict)
    graph: Callable[[Path, str, int], Engine] | None = None
    revision: int = 1

    @property
    def dynamic(self) -> Mapping[str, Sequence[int]]:
        """The network's arguments, and the axes of each whose length varies between batches."""
        if self.modality is Modality.IMAGE:
            return {"pixels": (0,)}
        return {"input_ids": (0, 1), "attention_mask": (0, 1)}

    def fingerprint(
        self, files: Mapping[str, Path], preprocessor: Preprocessor, precision: str
    ) -> str:
        """Hash weights, preprocessing, architecture and precision into 64 hex digits."""
        facts: dict[str, object] = {
            "name": self.name,
            "revision": self.revision,
            "preprocessing": preprocessor.parameters,
            "precision": precision,
        }
        if self.facts:
            facts["architecture"] = dict(self.facts)
        return fingerprint(files, facts)
