"""Loading a backbone by its name: one that runs, or its network to be tuned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.backbone import Backbone, InputLimits, Preprocessor
from models.catalogue.names import find_spec
from models.catalogue.spec import BackboneSpec
from models.engines import Choice, Engine, choose
from models.errors import CacheUnusable, UnknownEngine
from models.graph_paths import graph_path
from models.loaded_backbone import LoadedBackbone

if TYPE_CHECKING:
    from models.networks import CutNetwork


def load_backbone(
    name: str,
    *,
    engine: str = "auto",
    device: str = "auto",
    cache_dir: Path,
    threads: int = 0,
    limits: InputLimits | None = None,
    catalogue: Path | None = None,
    offline: bool = False,
) -> Backbone:
    """Load a backbone of the catalogue.

    Args:
        name: one of `known_backbones(catalogue)`, or a shorthand such as `torchvision/resnet18`.
        engine: `auto`, `onnxruntime` or `torch`.
        device: `auto`, `cpu` or `cuda`.
        cache_dir: where exported graphs are kept, under their fingerprint. Without torch being
            imported at all, a graph that is there already loads in a fraction of a second.
        threads: CPU threads of one forward pass; 0 takes every core.
        limits: bounds of one input; `InputLimits()` if None.
        catalogue: file with further backbones; see `models.catalogue.entries`.
        offline: whether weights that are not on this machine are missing, and not downloaded.

    Raises:
        UnknownBackbone, InvalidCatalogue, UnknownEngine, DeviceUnavailable, WeightsMissing: as they
            say.
        BackboneError: the weights or the cached graph cannot be read.
    """
    spec = find_spec(name, catalogue, offline=offline)
    choice = _choose(spec, engine, device)
    files = spec.files()
    preprocessor = spec.preprocessor(files, limits or InputLimits())
    mark = spec.fingerprint(files, preprocessor, choice.precision)
    runner = _build_engine(spec, choice, preprocessor, files["weights"], cache_dir / mark, threads)
    return LoadedBackbone(spec.name, spec.modality, spec.dim, choice, preprocessor, runner, mark)


@dataclass(frozen=True, eq=False)
class LoadedNetwork:
    """A backbone's torch module, to be tuned.

    Attributes:
        network: float32, on the CPU.
        inputs: names of what it takes.
        fingerprint: of the backbone, as `load_backbone` gives it.
        device: where to tune it.
    """

    network: CutNetwork
    inputs: tuple[str, ...]
    fingerprint: str
    device: str


def load_backbone_network(
    name: str,
    *,
    engine: str = "auto",
    device: str = "auto",
    catalogue: Path | None = None,
    offline: bool = False,
) -> LoadedNetwork:
    """Load a backbone's torch module, to tune it; this imports torch.

    Args:
        name, engine, device, catalogue, offline: as `load_backbone` takes them; engine and device
            decide which fingerprint it has.

    Raises:
        UnknownBackbone, InvalidCatalogue, UnknownEngine, DeviceUnavailable, WeightsMissing: as they
            say.
        BackboneError: it has no torch module, or its weights cannot be read.
    """
    spec = find_spec(name, catalogue, offline=offline)
    choice = _choose(spec, engine, device)
    files = spec.files()
    mark = spec.fingerprint(files, spec.preprocessor(files, InputLimits()), choice.precision)
    return LoadedNetwork(spec.network(files["weights"]), tuple(spec.dynamic), mark, choice.device)


def _choose(spec: BackboneSpec, engine: str, device: str) -> Choice:
    if spec.graph is None:
        return choose(engine, device)
    choice = choose("onnxruntime" if engine == "auto" else engine, device)
    if choice.engine != "onnxruntime":
        raise UnknownEngine(
            f"{spec.name} is an ONNX file: the engine must be onnxruntime or auto, is {engine}"
        )
    return choice


def _build_engine(
    spec: BackboneSpec,
    choice: Choice,
    preprocessor: Preprocessor,
    weights: Path,
    cache: Path,
    threads: int,
) -> Engine:
    if spec.graph is not None:
        return spec.graph(weights, choice.device, threads)

    if choice.engine == "torch":
        from models.engines.torch import TorchEngine

        return TorchEngine(spec.network(weights), choice.device, choice.precision, threads)

    from models.engines.onnxruntime import OnnxRuntimeEngine

    graph = graph_path(cache)
    if not _is_there(graph):
        _export(spec, preprocessor, weights, graph)
    return OnnxRuntimeEngine(graph, choice.device, threads)


def _export(spec: BackboneSpec, preprocessor: Preprocessor, weights: Path, graph: Path) -> None:
    try:
        graph.parent.parent.mkdir(parents=True, exist_ok=True)  # before torch takes seconds
        from models.export import export_graph

        example = preprocessor.collate([preprocessor.prepare(preprocessor.sample())] * 2)
        export_graph(spec.network(weights), example, spec.dynamic, graph)
    except OSError as error:
        raise CacheUnusable(
            f"cache_dir: {spec.name} cannot be exported to {graph.parent}: "
            f"{error.strerror or error}"
        ) from error


def _is_there(graph: Path) -> bool:
    try:
        graph.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise CacheUnusable(f"cache_dir: {graph} cannot be read: {error.strerror}") from error
    return True
