"""Folders as transformers and sentence-transformers save them, read as what they are: JSON files.

config.json                    the network
model.safetensors              its weights, or several files and model.safetensors.index.json
tokenizer.json                 of texts; or vocab.txt, or vocab.json and merges.txt
tokenizer_config.json
preprocessor_config.json       of images
modules.json                   of sentence-transformers: what comes after the network
sentence_bert_config.json
1_Pooling/config.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import BackboneError, WeightsMissing

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""The better one first: it cannot hold anything but tensors."""

TOKENIZERS = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))
"""Files that make a tokenizer, the better ones first."""

_BESIDE_TOKENIZERS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Files that have a say in it; tokenizer.json says itself what is in the others."""


@dataclass(frozen=True)
class Sentences:
    """What sentence-transformers does besides running the network.

    Attributes:
        pooling: `mean`, `cls` or `last`; None if the folder does not say.
        normalise: whether embeddings become unit vectors.
        max_tokens: where texts are cut; None if the folder does not say.
        lowercase: whether texts are made lower-case.
    """

    pooling: str | None = None
    normalise: bool = False
    max_tokens: int | None = None
    lowercase: bool = False


def find_weights(folder: Path) -> dict[str, Path]:
    """Locate the weights: `weights` is the file, or the index of the others that are returned.

    Raises:
        WeightsMissing: there are none, or a file is missing that the index names.
        BackboneError: the index cannot be understood.
    """
    for name in WEIGHTS:
        if (whole := folder / name).is_file():
            return {"weights": whole}
        if (index := folder / f"{name}.index.json").is_file():
            parts = _indexed(index)
            missing = [part for part in parts if not (folder / part).is_file()]
            if missing:
                raise WeightsMissing(f"{index} names {missing[0]}, which is not beside it")
            return {"weights": index, **{f"weights/{part}": folder / part for part in parts}}
    raise WeightsMissing(
        f"there are no weights in {folder}: put model.safetensors there, as save_pretrained does"
    )


def _indexed(index: Path) -> list[str]:
    try:
        return sorted({str(part) for part in read_json(index)["weight_map"].values()})
    except (AttributeError, KeyError, TypeError) as error:
        raise BackboneError(f"{index}: what it says cannot be understood: {error!r}") from error


def find_tokenizer(folder: Path) -> dict[str, Path]:
    """Locate the files of a tokenizer, and its configuration. Raises WeightsMissing."""
    for names in TOKENIZERS:
        if all((folder / name).is_file() for name in names):
            beside = _BESIDE_TOKENIZERS[:1] if names == TOKENIZERS[0] else _BESIDE_TOKENIZERS
            found = [*names, *(name for name in beside if (folder / name).is_file())]
            return {name: folder / name for name in found}
    raise WeightsMissing(
        f"there is no tokenizer in {folder}: put tokenizer.json there, as save_pretrained does"
    )


def read_sentences(folder: Path) -> tuple[Path, Sentences]:
    """Read what sentence-transformers adds, and where its network is; nothing in other folders.

    Raises:
        BackboneError: the folder asks for something that is not supported.
    """
    if not (folder / "modules.json").is_file():
        return folder, Sentences()
    try:
        return _read_modules(folder)
    except (AttributeError, KeyError, TypeError) as error:
        raise BackboneError(f"{folder}: its modules cannot be understood: {error!r}") from error


def _read_modules(folder: Path) -> tuple[Path, Sentences]:
    network, pooling, normalise = folder, None, False
    for module in read_json(folder / "modules.json"):
        kind = str(module["type"]).rpartition(".")[2]
        if kind == "Transformer":
            network = folder / module["path"]
        elif kind == "Pooling":
            pooling = _pooling(folder / module["path"] / "config.json")
        elif kind == "Normalize":
            normalise = True
        else:
            raise BackboneError(f"{folder / 'modules.json'}: modules {kind} are not supported")
    prompts = _read_if_there(folder / "config_sentence_transformers.json")
    if prompts.get("default_prompt_name"):
        raise BackboneError(f"{folder}: texts are to be given a prompt, which is not supported")
    own = _read_if_there(network / "sentence_bert_config.json")
    return network, Sentences(
        pooling=pooling,
        normalise=normalise,
        max_tokens=own.get("max_seq_length"),
        lowercase=bool(own.get("do_lower_case", False)),
    )


_POOLINGS = {"mean": "mean", "cls": "cls", "lasttoken": "last"}


def _pooling(path: Path) -> str:
    """Read the kind of pooling; before version 6 of sentence-transformers each had a switch."""
    config = read_json(path)
    chosen = config.get("pooling_mode") or [
        name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for name, on in config.items()
        if name.startswith("pooling_mode_") and on is True
    ]
    kinds = [chosen] if isinstance(chosen, str) else list(chosen)
    if len(kinds) != 1 or kinds[0] not in _POOLINGS:
        known = ", ".join(_POOLINGS)
        raise BackboneError(f"{path}: pooling must be one of {known}, is {', '.join(kinds)}")
    return _POOLINGS[kinds[0]]


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises WeightsMissing if it is not there, BackboneError if it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsMissing(
            f"there is no {path}: put it there, as save_pretrained does"
        ) from error
    except (OSError, ValueError) as error:
        raise BackboneError(f"{path} cannot be read: {error}") from error


def _read_if_there(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_json(path) if path.is_file() else {}
    return found
