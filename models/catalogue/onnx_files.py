"""Backbones that are ONNX files, each with a small YAML file beside it that says how to use it.

Beside parts.onnx lies parts.yaml, of an image network:

    modality: image
    input: pixels                      # float32
    layout: NCHW                       # or NHWC
    output: features                   # (n, dim), (n, tokens, dim) or (n, dim, h, w)
    resize: 256                        # the shorter side; or [height, width], whatever the shape
    crop: 224                          # or [height, width]
    interpolation: bilinear            # one of Pillow's filters
    mean: [0.485, 0.456, 0.406]        # of pixels between 0 and 1
    std: [0.229, 0.224, 0.225]

or of a text network:

    modality: text
    input: input_ids                   # int64
    mask: attention_mask               # leave it out where the network takes none
    types: token_type_ids              # likewise; all are 0
    output: last_hidden_state
    pooling: mean                      # mean, cls or last; for outputs (n, tokens, dim)
    tokenizer: tokenizer.json          # beside this file
    max_tokens: 128
    padding: 0                         # token id that fills up a batch

and of both

    normalise: true                    # whether embeddings become unit vectors
    dim: 512                           # where the graph does not say how long its output is
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from models.backbone import InputLimits, Modality, Preprocessor
from models.catalogue.entries import Entry, Pooling, describe
from models.catalogue.spec import BackboneSpec
from models.engines import Engine
from models.errors import BackboneError, InvalidCatalogue, WeightsMissing
from models.image_resize import CentreCrop
from models.images import ImagePreprocessor
from models.texts import TextPreprocessor
from models.weights import local_file

Arrays = Mapping[str, NDArray[Any]]

_Size = Annotated[int, Field(ge=1, le=4096)]
_Sides = _Size | tuple[_Size, _Size]
_Name = Annotated[str, Field(min_length=1)]


class _Description(BaseModel):
    """What the YAML file says of any network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: _Name
    output: _Name
    pooling: Pooling | None = None
    normalise: bool = False
    dim: Annotated[int | None, Field(ge=1, le=65536)] = None


class ImageDescription(_Description):
    """What the YAML file says of a network for images; see the module's docstring."""

    modality: Literal["image"]
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    resize: _Sides
    crop: _Sides
    interpolation: str = "bilinear"
    mean: tuple[float, float, float]
    std: tuple[
        Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]
    ]

    @property
    def centre_crop(self) -> CentreCrop:
        """How pictures are brought to size. Raises BackboneError."""
        crop = (self.crop, self.crop) if isinstance(self.crop, int) else self.crop
        return CentreCrop(self.resize, crop, self.interpolation)

    def prepare(self, collated: Arrays) -> Arrays:
        """Turn bytes into the network's normalised floats."""
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        pixels = (collated["pixels"].astype(np.float32) / np.float32(255) - mean) / std
        if self.layout == "NCHW":
            pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        return {self.input: pixels}


class TextDescription(_Description):
    """What the YAML file says of a network for texts; see the module's docstring."""

    modality: Literal["text"]
    mask: _Name | None = None
    types: _Name | None = None
    tokenizer: Path
    max_tokens: Annotated[int, Field(ge=3, le=8192)]
    padding: Annotated[int, Field(ge=0)] = 0

    def prepare(self, collated: Arrays) -> Arrays:
        """Rename the arrays as the network's inputs are called."""
        ids, mask = collated["input_ids"], collated["attention_mask"]
        arrays = {self.input: ids}
        if self.mask:
            arrays[self.mask] = mask
        if self.types:
            arrays[self.types] = np.zeros_like(ids)
        return arrays


Description = Annotated[ImageDescription | TextDescription, Field(discriminator="modality")]


def onnx_spec(name: str, entry: Entry) -> BackboneSpec:
    """Return the spec of an entry's backbone, after the YAML file beside the weights.

    Raises:
        WeightsMissing: the ONNX file, the YAML file or the tokenizer is not there.
        InvalidCatalogue: the YAML file says something wrong.
        BackboneError: the ONNX file cannot be read.
    """
    assert entry.weights is not None
    path = local_file(entry.weights, backbone=name)
    beside = path.with_suffix(".yaml")
    said = _read(name, beside)
    graph = _Graph(path)
    dim = graph.dim(said, beside)
    if isinstance(said, ImageDescription):
        try:
            crop = said.centre_crop
        except BackboneError as error:
            raise InvalidCatalogue(f"{beside}: {error}") from error
    else:
        tokenizer = local_file(path.parent / said.tokenizer, backbone=name)

    def files() -> Mapping[str, Path]:
        own = {"weights": path, **graph.external}
        return own if isinstance(said, ImageDescription) else own | {"tokenizer": tokenizer}

    def preprocessor(files: Mapping[str, Path], limits: InputLimits) -> Preprocessor:
        if isinstance(said, ImageDescription):
            return ImagePreprocessor(crop, limits)
        return TextPreprocessor(tokenizer, said.max_tokens, limits, padding=said.padding)

    def no_network(weights: Path) -> NoReturn:
        raise BackboneError(f"{name} is an ONNX file, of which torch can make no network")

    return BackboneSpec(
        name=name,
        modality=Modality(said.modality),
        dim=dim,
        files=files,
        preprocessor=preprocessor,
        network=no_network,
        facts={"onnx": said.model_dump(mode="json")},
        graph=functools.partial(_engine, said),
    )


def _read(name: str, path: Path) -> ImageDescription | TextDescription:
    if not path.is_file():
        raise WeightsMissing(f"{name}: there is no {path}, which says how the ONNX file is used")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        adapter: TypeAdapter[ImageDescription | TextDescription] = TypeAdapter(Description)
        return adapter.validate_python(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidCatalogue(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        raise InvalidCatalogue(f"{path}: {describe(error)}") from error


class _Graph:
    """What an ONNX file says of itself, without its numbers."""

    def __init__(self, path: Path) -> None:
        import onnx

        try:
            model = onnx.load(path, load_external_data=False)
        except Exception as error:  # protobuf's errors share no public root
            raise BackboneError(f"{path} cannot be read as an ONNX file: {error}") from error
        graph = model.graph
        constants = {tensor.name for tensor in graph.initializer}
        self._inputs = {value.name for value in graph.input} - constants
        self._outputs = {
            value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
            for value in graph.output
        }
        elsewhere = {
            entry.value
            for tensor in graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        self.external = {f"weights/{file}": path.parent / file for file in sorted(elsewhere)}

    def dim(self, said: ImageDescription | TextDescription, beside: Path) -> int:
        """Check the names that the YAML file uses, and return the length of an embedding."""
        used: dict[str, str | None] = {"input": said.input, "output": said.output}
        if isinstance(said, TextDescription):
            used |= {"mask": said.mask, "types": said.types}
        for field, name in used.items():
            known = self._outputs if field == "output" else self._inputs
            if name is not None and name not in known:
                raise InvalidCatalogue(
                    f"{beside}: {field}: must be one of {', '.join(sorted(known))}, is {name!r}"
                )
        if unused := self._inputs - set(used.values()):
            raise InvalidCatalogue(f"{beside}: the graph needs {min(unused)}, which is not named")
        shape = self._outputs[said.output]
        axis = 1 if len(shape) == 4 else -1
        dim = said.dim or (shape[axis] if shape else 0)
        if not dim:
            raise InvalidCatalogue(f"{beside}: dim: is needed, as the graph leaves it open")
        return int(dim)


def _engine(
    said: ImageDescription | TextDescription, graph: Path, device: str, threads: int
) -> Engine:
    from models.engines.onnx_file import OnnxFileEngine

    pool = functools.partial(_pool, said)
    return OnnxFileEngine(
        graph, device, threads, output=said.output, prepare=said.prepare, pool=pool
    )


def _pool(
    said: ImageDescription | TextDescription, output: NDArray[np.float32], collated: Arrays
) -> NDArray[np.float32]:
    if output.ndim == 4:
        output = output.mean(axis=(2, 3))
    if output.ndim == 3:
        output = _pool_tokens(output, collated.get("attention_mask"), said.pooling or "mean")
    if said.normalise:
        lengths = np.linalg.norm(output, axis=1, keepdims=True)
        output = np.asarray(output / np.maximum(lengths, np.float32(1e-12)), np.float32)
    return output


def _pool_tokens(
    states: NDArray[np.float32], mask: NDArray[np.int64] | None, pooling: Pooling
) -> NDArray[np.float32]:
    if mask is None:
        mask = np.ones(states.shape[:2], np.int64)
    if pooling == "mean":
        weights = mask[:, :, None].astype(np.float32)
        return np.asarray((states * weights).sum(axis=1) / weights.sum(axis=1), np.float32)
    last = mask.sum(axis=1) - 1
    at = np.zeros_like(last) if pooling == "cls" else last
    return np.asarray(states[np.arange(len(states)), at], np.float32)
