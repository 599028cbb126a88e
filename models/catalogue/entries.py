"""Entries: how backbones of other libraries are named and configured, without code.

A shorthand needs no configuration; it takes the library's own weights and defaults:

    torchvision/resnet18                            any classification model of torchvision.models
    timm/resnet18.a1_in1k                           any model of timm, with or without its tag
    huggingface/sentence-transformers/all-MiniLM-L6-v2   a repository of the hub

Everything else is a table of the catalogue file (TOML), named as the backbone shall be named:

    [backbones."defects/resnet18"]
    source = "torchvision"
    model = "resnet18"
    weights = "weights/defects.pth"     # beside this file; tensors only, nothing in it is run

    [backbones."reviews/bert"]
    source = "huggingface"
    weights = "bert-reviews"            # a folder, as save_pretrained makes it
    pooling = "cls"
    normalise = true
    max_tokens = 128

    [backbones."parts/own"]
    source = "onnx"
    weights = "parts.onnx"              # and parts.yaml beside it
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import InvalidCatalogue

Source = Literal["torchvision", "timm", "huggingface", "onnx"]
Pooling = Literal["mean", "cls", "last"]

SHORTHANDS: tuple[Source, ...] = ("torchvision", "timm", "huggingface")
"""Sources whose models can be named without being configured."""

NAME = re.compile(r"[A-Za-z0-9][\w.\-]*(/[A-Za-z0-9][\w.\-]*)+", re.ASCII)
MAX_NAME = 200

_MEANT_FOR: Mapping[str, tuple[Source, ...]] = {
    "model": ("torchvision", "timm", "huggingface"),
    "revision": ("torchvision", "huggingface"),
    "pooling": ("huggingface",),
    "normalise": ("torchvision", "timm", "huggingface"),
    "max_tokens": ("huggingface",),
    "image_size": ("torchvision", "timm"),
    "tail_blocks": ("torchvision", "timm", "huggingface"),
}


class Entry(BaseModel):
    """What a table of the catalogue file says, or what a shorthand stands for.

    Attributes:
        source: the library that knows the network; `onnx` for a file that holds it.
        model: its name in torchvision or timm, or a repository of the hub.
        weights: a file (.pth, .pt, .safetensors, .onnx), or a folder for `huggingface`. Without
            it the library's own weights are taken from its cache, or downloaded into it.
        revision: of torchvision's weights, e.g. IMAGENET1K_V2; a branch, tag or commit of the hub.
        pooling: how token states become one embedding: their mean, the first (cls) or the last
            one. By default what the folder says, else `last` for GPT-2, `cls` for images, `mean`.
        normalise: whether embeddings become unit vectors. By default what the folder says, else
            not.
        max_tokens: longer texts are cut. By default as many as the network takes.
        image_size: height and width that the network sees, in pixels. Too low loses detail, and
            time grows with its square.
        tail_blocks: blocks after the cut, which a tenant may tune; 0 for none. More learn more and
            are larger; by default about a third.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    model: Annotated[str | None, Field(min_length=1, max_length=MAX_NAME)] = None
    weights: Path | None = None
    revision: Annotated[str | None, Field(min_length=1, max_length=MAX_NAME)] = None
    pooling: Pooling | None = None
    normalise: bool | None = None
    max_tokens: Annotated[int | None, Field(ge=3, le=8192)] = None
    image_size: Annotated[int | None, Field(ge=16, le=1024)] = None
    tail_blocks: Annotated[int | None, Field(ge=0, le=1000)] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field, sources in _MEANT_FOR.items():
            value = getattr(self, field)
            if value is not None and self.source not in sources:
                meant = ", ".join(sources)
                raise ValueError(f"{field}: is for {meant}, not for {self.source}, is {value!r}")
        if self.source in ("torchvision", "timm") and self.model is None:
            raise ValueError("model: is needed")
        if self.source == "onnx" and self.weights is None:
            raise ValueError("weights: the ONNX file is needed")
        if self.source == "huggingface" and (self.model is None) == (self.weights is None):
            raise ValueError("model, weights: a repository or a folder is needed, and not both")
        return self


def shorthand(name: str) -> Entry | None:
    """Return what a name stands for that is not configured; None if it is no shorthand."""
    source, _, model = name.partition("/")
    if NAME.fullmatch(name) is None or len(name) > MAX_NAME:
        return None
    known = next((known for known in SHORTHANDS if known == source), None)
    return None if known is None else Entry(source=known, model=model)


def read_entries(path: Path) -> Mapping[str, Entry]:
    """Read a catalogue file; paths in it are relative to its folder.

    Raises:
        InvalidCatalogue: it cannot be read, or what it says is wrong: which table, field and value.
    """
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidCatalogue(f"catalogue {path}: cannot be read: {error}") from error
    tables = content.pop("backbones", {})
    if content or not isinstance(tables, dict):
        given = ", ".join(sorted(content)) or type(tables).__name__
        raise InvalidCatalogue(
            f'catalogue {path}: holds tables [backbones."name"] only, is {given}'
        )
    return {name: _read_entry(path, name, table) for name, table in tables.items()}


def _read_entry(path: Path, name: str, table: Any) -> Entry:
    where = f'catalogue {path}, [backbones."{name}"]'
    if NAME.fullmatch(name) is None or len(name) > MAX_NAME:
        raise InvalidCatalogue(
            f"{where}: a name is family/variant of letters, digits, '.', '_' and '-', at most "
            f"{MAX_NAME} characters"
        )
    try:
        entry = Entry.model_validate(table)
    except ValidationError as error:
        raise InvalidCatalogue(f"{where}: {describe(error)}") from error
    if entry.weights is None:
        return entry
    return entry.model_copy(update={"weights": path.parent / entry.weights.expanduser()})


def describe(error: ValidationError) -> str:
    """Return one line that names each field, what is wrong with it and the value."""
    parts = []
    for item in error.errors():
        field = ".".join(map(str, item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        parts.append(f"{field}: {message}, is {item['input']!r}" if field else message)
    return "; ".join(parts)
