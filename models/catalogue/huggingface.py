"""Backbones of Hugging Face: folders of transformers or sentence-transformers.

They are read without importing either library, unless a tokenizer is of an old kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.backbone import InputLimits, Modality, Preprocessor
from models.catalogue.entries import Entry
from models.catalogue.folders import (
    Sentences,
    find_tokenizer,
    find_weights,
    read_json,
    read_sentences,
)
from models.catalogue.processors import read_processor
from models.catalogue.spec import BackboneSpec
from models.downloads import hub_folder
from models.errors import BackboneError, InvalidCatalogue, WeightsMissing
from models.images import ImagePreprocessor
from models.texts import TextPreprocessor

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from models.networks import CutNetwork

_TEXTS: Mapping[str, str] = {
    "bert": "mean",
    "roberta": "mean",
    "xlm-roberta": "mean",
    "distilbert": "mean",
    "gpt2": "last",
}
"""Families of networks for texts, as `model_type` names them, and how they are pooled."""

_IMAGES = ("vit", "dinov2")

_OFFSET = ("roberta", "xlm-roberta")
"""Families whose table of positions begins with some that no token takes."""

_DOWNLOADED = ("*.json", "vocab.txt", "merges.txt")


def huggingface_spec(name: str, entry: Entry, *, offline: bool = False) -> BackboneSpec:
    """Return the spec of an entry's backbone; the folder has to be there, or is fetched.

    Raises:
        WeightsMissing: the folder, or something in it, is not there.
        InvalidCatalogue: the entry and the folder contradict each other.
        BackboneError: the folder is of a family that is not known, or asks for something unknown.
    """
    folder = _folder(name, entry, offline)
    network, sentences = read_sentences(folder)
    config = read_json(network / "config.json")
    try:
        return _spec(name, entry, network, config, sentences)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackboneError(f"{network}: its files cannot be understood: {error!r}") from error


def _spec(
    name: str, entry: Entry, network: Path, config: Mapping[str, Any], sentences: Sentences
) -> BackboneSpec:
    family = config.get("model_type")
    if family in _TEXTS and not (family != "gpt2" and config.get("is_decoder")):
        return _text_spec(name, entry, network, config, sentences)
    if family in _IMAGES:
        return _image_spec(name, entry, network, config)
    known = ", ".join((*_TEXTS, *_IMAGES))
    raise BackboneError(
        f"{name}: {network / 'config.json'}: model_type must be one of {known}, is {family!r}"
        f"{' as a decoder' if family in _TEXTS else ''}"
    )


def _folder(name: str, entry: Entry, offline: bool) -> Path:
    if entry.weights is not None:
        if not entry.weights.is_dir():
            raise WeightsMissing(
                f"{name}: there is no folder {entry.weights}: put one there, as save_pretrained "
                "makes it, or name another one as `weights` in the catalogue file"
            )
        return entry.weights
    choices = [(*_DOWNLOADED, "*model*.safetensors"), (*_DOWNLOADED, "pytorch_model*.bin")]
    return hub_folder(name, str(entry.model), entry.revision, choices, _complete, offline=offline)


def _complete(folder: Path) -> bool:
    try:
        network, _ = read_sentences(folder)
        return bool(find_weights(network)) and (network / "config.json").is_file()
    except WeightsMissing:
        return False


def _text_spec(
    name: str, entry: Entry, folder: Path, config: Mapping[str, Any], sentences: Sentences
) -> BackboneSpec:
    family = str(config["model_type"])
    max_tokens = _max_tokens(name, entry, folder, config, sentences)
    normalise = sentences.normalise if entry.normalise is None else entry.normalise
    settings: dict[str, Any] = {
        "pooling": entry.pooling or sentences.pooling or _TEXTS[family],
        "normalise": normalise,
        "tail_blocks": entry.tail_blocks,
    }
    tokenizer = find_tokenizer(folder)
    facts = {"transformers": family, **settings}
    if "tokenizer.json" not in tokenizer:
        facts["tokenizer"] = f"converted by transformers {version('transformers')}"

    def files() -> Mapping[str, Path]:
        return {"config": folder / "config.json"} | tokenizer | find_weights(folder)

    def preprocessor(files: Mapping[str, Path], limits: InputLimits) -> Preprocessor:
        own = files.get("tokenizer.json") or _converted(folder)
        return TextPreprocessor(own, max_tokens, limits, lowercase=sentences.lowercase)

    def network(weights: Path) -> CutNetwork:
        from models.networks.huggingface import text_network

        return text_network(family, weights, **settings)

    return BackboneSpec(
        name=name,
        modality=Modality.TEXT,
        dim=_width(config),
        files=files,
        preprocessor=preprocessor,
        network=network,
        facts=facts,
    )


def _max_tokens(
    name: str, entry: Entry, folder: Path, config: Mapping[str, Any], sentences: Sentences
) -> int:
    """Return where texts are cut: never beyond the positions that the network knows."""
    positions = int(config.get("max_position_embeddings") or config.get("n_positions") or 512)
    if config["model_type"] in _OFFSET:
        positions -= int(config.get("pad_token_id", 1)) + 1
    if entry.max_tokens is not None and entry.max_tokens > positions:
        raise InvalidCatalogue(
            f"{name}: max_tokens: must be at most {positions}, the positions that the network "
            f"knows, is {entry.max_tokens}"
        )
    path = folder / "tokenizer_config.json"
    own = read_json(path).get("model_max_length") if path.is_file() else None
    return int(min(positions, entry.max_tokens or sentences.max_tokens or own or positions))


def _width(config: Mapping[str, Any]) -> int:
    """Return the length of a token's state; three families have names of their own for it."""
    return int(config.get("hidden_size") or config.get("dim") or config["n_embd"])


def _converted(folder: Path) -> Tokenizer:
    """Make a tokenizer of the files from before tokenizer.json, as transformers does it."""
    from models.networks.huggingface import library

    try:
        tokenizer: Tokenizer = library.AutoTokenizer.from_pretrained(
            folder, local_files_only=True
        ).backend_tokenizer
    except Exception as error:  # the library raises what its many parts raise
        raise BackboneError(f"the tokenizer in {folder} cannot be read: {error}") from error
    return tokenizer


def _image_spec(name: str, entry: Entry, folder: Path, config: Mapping[str, Any]) -> BackboneSpec:
    family = str(config["model_type"])
    if entry.pooling == "last":
        raise InvalidCatalogue(f"{name}: pooling: must be cls or mean for images, is 'last'")
    if entry.max_tokens is not None:
        raise InvalidCatalogue(f"{name}: max_tokens: is for texts, is {entry.max_tokens}")
    crop, mean, std = read_processor(folder / "preprocessor_config.json")
    settings: dict[str, Any] = {
        "mean": mean,
        "std": std,
        "pooling": entry.pooling or "cls",
        "normalise": bool(entry.normalise),
        "tail_blocks": entry.tail_blocks,
    }

    def network(weights: Path) -> CutNetwork:
        from models.networks.huggingface import image_network

        return image_network(family, weights, **settings)

    return BackboneSpec(
        name=name,
        modality=Modality.IMAGE,
        dim=_width(config),
        files=lambda: {"config": folder / "config.json"} | find_weights(folder),
        preprocessor=lambda files, limits: ImagePreprocessor(crop, limits),
        network=network,
        facts={"transformers": family, **settings},
    )
