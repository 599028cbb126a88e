"""Networks of Hugging Face transformers: layers of attention, cut before the last third of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import BackboneError
from models.networks.base import Block, CutNetwork
from models.networks.pixels import (
    Anatomy,
    FirstToken,
    PatchMean,
    PixelStem,
    assemble,
    layers,
)
from models.networks.tokens import AttentionBlock, CausalBlock, LastToken, TokenMean
from models.torchvision_ops import declare_missing_operators

declare_missing_operators()

import transformers  # noqa: E402

library: Any = transformers  # which makes its names when they are asked for
# What it would say of missing or superfluous tensors is decided here, and no log is a terminal.
library.utils.logging.set_verbosity_error()
library.utils.logging.disable_progress_bar()


def text_network(
    family: str, weights: Path, *, pooling: str, normalise: bool, tail_blocks: int | None
) -> CutNetwork:
    """Build a network for texts from a folder as `save_pretrained` makes it.

    Args:
        family: what its configuration calls `model_type`.
        weights: the file with the tensors, or the index of several.
        pooling: `mean`, `cls` or `last`.
        normalise: whether embeddings become unit vectors.
        tail_blocks: layers after the cut, 0 for none; None for a third.

    Raises:
        BackboneError: the weights cannot be read or do not fit, or there are not so many layers.
    """
    network = _load(family, weights)
    pool = {"mean": TokenMean, "cls": FirstToken, "last": LastToken}[pooling]()
    anatomy = _TEXTS[family](network, pool)
    return assemble(anatomy, tail_blocks=tail_blocks, normalise=normalise)


def image_network(
    family: str,
    weights: Path,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    pooling: str,
    normalise: bool,
    tail_blocks: int | None,
) -> CutNetwork:
    """Build a network for images as `text_network` builds one for texts.

    Args:
        mean, std: per channel, of pixels between 0 and 1.
        pooling: `cls`, or `mean` over the patches.
    """
    network = _load(family, weights)
    parts = layers(network, _IMAGES[family])
    parts[-1]["layernorm"] = network.layernorm
    anatomy = Anatomy(
        PixelStem(mean, std, {"embeddings": network.embeddings}),
        [Block(part) for part in parts],
        FirstToken() if pooling == "cls" else PatchMean(1),
    )
    return assemble(anatomy, tail_blocks=tail_blocks, normalise=normalise)


_CLASSES: Mapping[str, tuple[str, Mapping[str, bool]]] = {
    "bert": ("BertModel", {"add_pooling_layer": False}),
    "roberta": ("RobertaModel", {"add_pooling_layer": False}),
    "xlm-roberta": ("XLMRobertaModel", {"add_pooling_layer": False}),
    "distilbert": ("DistilBertModel", {}),
    "gpt2": ("GPT2Model", {}),
    "vit": ("ViTModel", {"add_pooling_layer": False}),
    "dinov2": ("Dinov2Model", {}),
}
"""By family: the library's class, and what it is not to make because no embedding passes it."""


def _load(family: str, weights: Path) -> Any:
    name, without = _CLASSES[family]
    try:
        network, report = getattr(library, name).from_pretrained(
            weights.parent,
            **without,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors="safetensors" in weights.name,
            weights_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # the library raises what its many parts raise
        raise BackboneError(f"{weights} cannot be loaded as {name}: {error}") from error
    if missing := sorted(report["missing_keys"]):
        lacks = f"it lacks {len(missing)} tensors, {missing[0]} among them"
        raise BackboneError(f"{weights} does not fit {name}: {lacks}")
    return network


class _TokenStem(nn.Module):
    """Token ids to the sum of word, position and type embeddings."""

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.embeddings(input_ids=input_ids)
        return states


class _OffsetStem(_TokenStem):
    """RoBERTa counts positions from beyond the id of its padding, and gives that to paddings."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        padding: Any = self.embeddings.padding_idx
        counted = attention_mask * (input_ids != padding)
        positions = counted.cumsum(dim=1) * counted + padding
        states: Tensor = self.embeddings(input_ids=input_ids, position_ids=positions)
        return states


class _SumStem(nn.Module):
    """GPT-2 keeps its two tables beside its layers."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.wte, self.wpe = network.wte, network.wpe

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        states: Tensor = self.wte(input_ids) + self.wpe(positions)
        return states


def _encoder(
    stack: str, stem: Callable[[nn.Module], nn.Module], network: Any, pool: nn.Module
) -> Anatomy:
    blocks = [AttentionBlock(parts) for parts in layers(network, stack)]
    return Anatomy(stem(network.embeddings), blocks, pool, mask="attention_mask")


def _decoder(network: Any, pool: nn.Module) -> Anatomy:
    parts = layers(network, "h")
    parts[-1]["ln_f"] = network.ln_f
    blocks = [CausalBlock(part) for part in parts]
    return Anatomy(_SumStem(network), blocks, pool, mask="attention_mask")


_TEXTS: Mapping[str, Callable[[Any, nn.Module], Anatomy]] = {
    "bert": functools.partial(_encoder, "encoder.layer", _TokenStem),
    "roberta": functools.partial(_encoder, "encoder.layer", _OffsetStem),
    "xlm-roberta": functools.partial(_encoder, "encoder.layer", _OffsetStem),
    "distilbert": functools.partial(_encoder, "transformer.layer", _TokenStem),
    "gpt2": _decoder,
}

_IMAGES: Mapping[str, str] = {"vit": "layers", "dinov2": "encoder.layer"}
"""By family: where the layers are."""
